-- Sends a command as `rolloutplan` does: the annotation with a token of its own. The line before this one sets `verb`.
obj.metadata.annotations = obj.metadata.annotations or {}
local annotations = obj.metadata.annotations
annotations["rolloutplan.dev/command"] = verb .. " argocd-" .. os.time() .. " --reason sent with Argo CD"
annotations["rolloutplan.dev/command-by"] = nil
return obj

-- The health of an object that configures the operator: its condition Ready says whether it applies.
local status = obj.status or {}
if status.observedGeneration == (obj.metadata or {}).generation then
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == "Ready" then
      return {status = condition.status == "True" and "Healthy" or "Degraded", message = condition.message}
    end
  end
end
return {status = "Progressing", message = "no operator has seen this version of it yet"}

-- The health of a RolloutPlan. A script of Argo CD has the base functions, `table` and a part of `os`, and no others.
local status = obj.status or {}
if status.observedGeneration ~= (obj.metadata or {}).generation then
  return {status = "Progressing", message = "no operator has seen this version of the plan yet"}
end
local health, message = "Progressing", status.message
if status.phase == "Held" or status.reason == "Paused" then
  health = "Suspended"
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    message = condition.message or message
    if condition.status == "True" then
      health = "Healthy"
    end
  end
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = condition.message or message}
  end
end
return {status = health, message = message}

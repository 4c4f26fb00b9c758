-- Which commands are offered: each that the operator would carry out in this phase, and as few others as that allows.
local status = obj.status or {}
local phase, reason = status.phase or "Pending", status.reason
local ended = phase == "Succeeded" or phase == "RolledBack"
local going_back = phase == "RollingBack"
local held = phase == "Held"
local asks = reason == "AwaitingApproval" or reason == "WeightsNotCommitted"
local offered = {
  abort = not ended and not going_back,
  approve = held and asks,
  pause = not ended and not going_back and reason ~= "Paused",
  promote = held or phase == "Judging",
  resume = held or status.paused ~= nil,
  retry = ended,
  revert = phase ~= "RolledBack" and not going_back,
  skip = held or phase == "Judging",
}
local actions = {}
for verb, on in pairs(offered) do
  actions[verb] = {disabled = not on}
end
return actions

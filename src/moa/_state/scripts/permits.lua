-- Claim permits of a rate limit for the current slot: `counters.permits` in Redis.
-- KEYS[1]: the window, a hash: "SLOT:HOLDER" = permits.
-- ARGV: holder, limit, want, seconds of a slot, slots that any minute overlaps, then pairs of slot and permits used.
-- Returns, as strings: slot, permits of this slot, milliseconds until it ends, holders of this slot and the previous one.
local holder, limit, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local slot_ms, slots = tonumber(ARGV[4]) * 1000, tonumber(ARGV[5])
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local slot = math.floor(now / slot_ms)
for i = 6, #ARGV, 2 do
  local field = ARGV[i] .. ":" .. holder
  if tonumber(ARGV[i]) > slot - slots and redis.call("HEXISTS", KEYS[1], field) == 1 then
    redis.call("HSET", KEYS[1], field, ARGV[i + 1])
  end
end
local sum, mine, holders = 0, 0, { [holder] = true }
local fields = redis.call("HGETALL", KEYS[1])
for i = 1, #fields, 2 do
  local number, whose = string.match(fields[i], "^(%d+):(.*)$")
  number = tonumber(number)
  if number <= slot - slots then
    redis.call("HDEL", KEYS[1], fields[i])
  else
    sum = sum + tonumber(fields[i + 1])
    if number >= slot - 1 then holders[whose] = true end
    if number == slot and whose == holder then mine = tonumber(fields[i + 1]) end
  end
end
local count = 0
for _ in pairs(holders) do count = count + 1 end
local function text(number) return string.format("%.0f", number) end
local granted = mine + math.max(0, math.min(want - mine, math.ceil((limit - sum) / count)))
redis.call("HSET", KEYS[1], text(slot) .. ":" .. holder, text(granted))
redis.call("PEXPIRE", KEYS[1], slot_ms * (slots + 1))
return { text(slot), text(granted), text((slot + 1) * slot_ms - now), text(count) }

-- Report the spending on an account, and claim a block of the rest: `counters.exchange` in Redis.
-- KEYS[1]: the account, a hash: "gone", and for each holder "h:NAME" = "spent committed held expires_ms".
-- ARGV: holder, limit, spent, reserved, headroom, block, least, ttl_ms, renews (0 or 1).
-- Returns, as strings: held, committed, spent by all, held by others beyond what they spent, lease lost (0 or 1), ms.
local holder = "h:" .. ARGV[1]
local limit, spent, reserved = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local headroom, block, least, ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local gone, others_held, others_spent, known = 0, 0, 0, false
local fields = redis.call("HGETALL", KEYS[1])
local expired, expired_committed = {}, 0
for i = 1, #fields, 2 do
  if fields[i] == "gone" then
    gone = tonumber(fields[i + 1])
  else
    local s, c, h, e = string.match(fields[i + 1], "(%d+) (%d+) (%d+) (%d+)")
    if tonumber(e) <= now then
      table.insert(expired, fields[i])
      expired_committed = expired_committed + tonumber(c)
    elseif fields[i] == holder then
      known = true
    else
      others_held = others_held + tonumber(h)
      others_spent = others_spent + tonumber(s)
    end
  end
end
local function text(number) return string.format("%.0f", number) end
gone = gone + expired_committed
if #expired > 0 then
  redis.call("HDEL", KEYS[1], unpack(expired))
  redis.call("HSET", KEYS[1], "gone", text(gone))
end
if ARGV[9] == "1" and not known then
  return { "0", "0", text(gone + others_spent), text(others_held - others_spent), "1", text(now) }
end
local free = math.max(0, limit - gone - others_held - spent)
block = math.min(block, free)
if block < least then block = 0 end
local held = spent + math.max(reserved, block)
local committed = math.min(held, spent + reserved + headroom)
if held > 0 then
  redis.call("HSET", KEYS[1], holder, text(spent) .. " " .. text(committed) .. " " .. text(held) .. " " .. text(now + ttl))
else
  redis.call("HDEL", KEYS[1], holder)
end
return { text(held), text(committed), text(gone + others_spent + spent), text(others_held - others_spent), "0", text(now) }

-- Store an item, and delete the oldest items of its group beyond the maximum.
-- KEYS[1]: the item. KEYS[2]: the group's items, a sorted set by the time they were stored.
-- ARGV: the value, ttl_ms, maximum number of items in the group (0: unlimited).
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
redis.call("ZADD", KEYS[2], now, KEYS[1])
redis.call("ZREMRANGEBYSCORE", KEYS[2], "-inf", now - ARGV[2] * 1000)
redis.call("PEXPIRE", KEYS[2], ARGV[2])
local most = tonumber(ARGV[3])
if most > 0 then
  local surplus = redis.call("ZRANGE", KEYS[2], 0, -most - 1)
  for _, key in ipairs(surplus) do redis.call("DEL", key) end
  redis.call("ZREMRANGEBYRANK", KEYS[2], 0, -most - 1)
end
return 1

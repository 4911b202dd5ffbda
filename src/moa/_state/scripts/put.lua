-- Store an item; delete expired ones, the oldest of its group beyond the group's maximum, and, beyond the maximum of all
-- items, the oldest of the largest group.
-- KEYS: the item; its group's items, a sorted set by the time they were stored; all items, a sorted set by the time they
-- expire; a hash of all items to "BYTES GROUP"; the groups, a sorted set by their bytes; the bytes of all items.
-- ARGV: the value, ttl_ms, maximum number of items in the group (0: unlimited), maximum bytes of all items.
local item, group, expiries, facts, groups, total = unpack(KEYS)
local value, ttl, most, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]
local function count(whose, size)
  if tonumber(redis.call("ZINCRBY", groups, size, whose)) <= 0 then redis.call("ZREM", groups, whose) end
  return redis.call("INCRBY", total, size)
end
local function remove(key, whose)
  redis.call("DEL", key)
  redis.call("ZREM", expiries, key)
  local size, of = string.match(redis.call("HGET", facts, key) or "", "^(%d+) (.*)$")
  redis.call("ZREM", of or whose, key)
  if size then
    redis.call("HDEL", facts, key)
    count(of, -size)
  end
end
for _, key in ipairs(redis.call("ZRANGEBYSCORE", expiries, "-inf", now, "LIMIT", 0, 1000)) do remove(key, group) end
remove(item, group)
redis.call("SET", item, value, "PX", ttl)
redis.call("ZADD", group, now, item)
redis.call("ZADD", expiries, now + ttl * 1000, item)
redis.call("HSET", facts, item, #value .. " " .. group)
local bytes = count(group, #value)
if most > 0 then
  for _, key in ipairs(redis.call("ZRANGE", group, 0, -most - 1)) do remove(key, group) end
  bytes = tonumber(redis.call("GET", total))
end
while bytes > max_bytes do
  local largest = redis.call("ZREVRANGE", groups, 0, 0)[1]
  local oldest = largest and redis.call("ZRANGE", largest, 0, 0)[1]
  if not oldest then break end
  remove(oldest, largest)
  bytes = tonumber(redis.call("GET", total))
end
redis.call("PEXPIRE", group, ttl)
local last_expiry = redis.call("ZRANGE", expiries, -1, -1, "WITHSCORES")[2]
if last_expiry then
  for _, key in ipairs({ expiries, facts, groups, total }) do
    redis.call("PEXPIREAT", key, string.format("%.0f", last_expiry / 1000 + 1))
  end
end
return 1

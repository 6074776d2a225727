-- Writes what a gateway process has gathered: scores of calls, and callers' feedback.
--
-- KEYS[1]  scores (stream)   KEYS[2]  feedback by response (hash)   KEYS[3]  its times (sorted set)
-- ARGV     most entries kept, longest age in seconds, n, then n encoded scores,
--          then for each feedback: id of the response, time in seconds, encoded feedback.
-- Sent twice, it leaves the same feedback; scores are told apart by the call's id when read.
local most, age, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])

if count > 0 then
  for n = 4, 3 + count do redis.call('XADD', KEYS[1], '*', 'r', ARGV[n]) end
  redis.call('XTRIM', KEYS[1], 'MAXLEN', most)
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', math.max(0, (now - age) * 1000)))
  redis.call('EXPIRE', KEYS[1], age)
end

for n = 4 + count, #ARGV, 3 do
  local id, time = ARGV[n], ARGV[n + 1]
  local known = redis.call('ZSCORE', KEYS[3], id)
  if not known or tonumber(known) <= tonumber(time) then -- the last word counts
    redis.call('HSET', KEYS[2], id, ARGV[n + 2])
    redis.call('ZADD', KEYS[3], time, id)
  end
end

local over = redis.call('ZCARD', KEYS[3]) - most
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - age, 'LIMIT', 0, 1000)
if over > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, math.min(over, 1000) - 1)) do
    table.insert(old, id)
  end
end
if #old > 0 then
  redis.call('HDEL', KEYS[2], unpack(old))
  redis.call('ZREM', KEYS[3], unpack(old))
end
redis.call('EXPIRE', KEYS[2], age)
redis.call('EXPIRE', KEYS[3], age)
return 1

-- What became of a delivery that was claimed.
--
-- KEYS[1] outbox (sorted set)   KEYS[2] deliveries (hash)   KEYS[3] dead letters (list)
-- ARGV    slot, id of the delivery, 'done' | 'retry' | 'dead', for retry the text to keep and the
--         pause in ms, for dead the dead letter's text and how many are kept
-- Returns 1, or 0 when it was settled before, or another delivery has its slot: that one is due now.
local text = redis.call('HGET', KEYS[2], ARGV[1])
if not text then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if cjson.decode(text).id ~= ARGV[2] then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  return 0
end
if ARGV[3] == 'retry' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
  redis.call('ZADD', KEYS[1], now + ARGV[5], ARGV[1])
  return 1
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[3] == 'dead' then
  redis.call('LPUSH', KEYS[3], ARGV[4])
  redis.call('LTRIM', KEYS[3], 0, ARGV[5] - 1)
end
return 1

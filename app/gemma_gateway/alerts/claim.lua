-- Takes deliveries that are due, while we lead. Nobody else gets them before the claim is over.
--
-- KEYS[1] lease   KEYS[2] outbox (sorted set: slot by the ms at which it is due)
-- KEYS[3] deliveries (hash)
-- ARGV    token of this process, life of the claim in ms, most deliveries
-- Returns slot, text of each
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for _, slot in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  local text = redis.call('HGET', KEYS[3], slot)
  if text then
    redis.call('ZADD', KEYS[2], now + ARGV[2], slot)
    found[#found + 1] = slot
    found[#found + 1] = text
  else
    redis.call('ZREM', KEYS[2], slot)
  end
end
return found

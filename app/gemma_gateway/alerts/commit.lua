-- Writes what one evaluation has changed, all of it or nothing, and only while we lead.
--
-- KEYS[1] lease        KEYS[2] alerts (hash)   KEYS[3] silences (hash)   KEYS[4] history (list)
-- KEYS[5] outbox (sorted set: slot by the ms at which it is due)         KEYS[6] deliveries (hash)
-- ARGV    token of this process, most entries of the history, changes as JSON:
--         alerts {key: text}, gone [key], ended [silence's id], history [text], deliveries
--         {slot: text}. A delivery takes the place of an earlier one in its slot, and waits where
--         that one waited, so that it never overtakes it.
-- Returns 1, or 0 when another process leads.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local changes = cjson.decode(ARGV[3])
for key, text in pairs(changes.alerts) do redis.call('HSET', KEYS[2], key, text) end
for _, key in ipairs(changes.gone) do redis.call('HDEL', KEYS[2], key) end
for _, id in ipairs(changes.ended) do redis.call('HDEL', KEYS[3], id) end
for _, text in ipairs(changes.history) do redis.call('LPUSH', KEYS[4], text) end
redis.call('LTRIM', KEYS[4], 0, ARGV[2] - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for slot, text in pairs(changes.deliveries) do
  redis.call('HSET', KEYS[6], slot, text)
  redis.call('ZADD', KEYS[5], 'NX', now, slot)
end
return 1

-- Writes what one evaluation has changed, all of it or nothing, and only while we lead.
--
-- KEYS[1] lease        KEYS[2] alerts (hash)   KEYS[3] silences (hash)   KEYS[4] history (list)
-- KEYS[5] outbox (sorted set: slot by the ms at which it is due)         KEYS[6] deliveries (hash)
-- ARGV    token of this process, most entries of the history, changes as JSON:
--         alerts {key: text}, gone [key], ended [silence's id], history [text], deliveries
--         {slot: text}
-- Returns 1, or 0 when another process leads.
-- Begins with the functions of storage/lease.lua and storage/outbox.lua: alerts and what is to be
-- told of them are written together, or not at all.
if not lease_held(KEYS[1], ARGV[1]) then return 0 end
local changes = cjson.decode(ARGV[3])
for key, text in pairs(changes.alerts) do redis.call('HSET', KEYS[2], key, text) end
for _, key in ipairs(changes.gone) do redis.call('HDEL', KEYS[2], key) end
for _, id in ipairs(changes.ended) do redis.call('HDEL', KEYS[3], id) end
for _, text in ipairs(changes.history) do redis.call('LPUSH', KEYS[4], text) end
redis.call('LTRIM', KEYS[4], 0, ARGV[2] - 1)
local now = outbox_now()
for slot, text in pairs(changes.deliveries) do outbox_put(KEYS[5], KEYS[6], now, slot, text) end
return 1

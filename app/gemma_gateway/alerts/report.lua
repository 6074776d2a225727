-- Writes down that the store was unavailable, once for all processes that have noticed it.
--
-- KEYS[1] mark of this alert   KEYS[2] generation   KEYS[3] history (list)
-- KEYS[4] outbox (sorted set)  KEYS[5] deliveries (hash)
-- ARGV    life of the mark in seconds, the next generation, most entries of the history, the alert
--         as text, then slot, text of each delivery
-- Returns 1, or 0 when another process has done it.
-- Begins with the functions of storage/outbox.lua: who sets the mark has it told, too.
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('LPUSH', KEYS[3], ARGV[4])
redis.call('LTRIM', KEYS[3], 0, ARGV[3] - 1)
local now = outbox_now()
for n = 5, #ARGV, 2 do outbox_put(KEYS[4], KEYS[5], now, ARGV[n], ARGV[n + 1]) end
return 1

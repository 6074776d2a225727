-- Which run-time keys have changed since a gateway last asked, oldest change first.
--
-- KEYS[1]  number of the last change   KEYS[2]  changed (sorted set: key id by its last change)
-- ARGV     number of the last change that the gateway knows, ids wanted
-- Returns  {number of the last change, id, number of its change, ...}
local last = redis.call('GET', KEYS[1]) or '0'
if tonumber(last) <= tonumber(ARGV[1]) then return {last} end
local found =
  redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
return {last, unpack(found)}

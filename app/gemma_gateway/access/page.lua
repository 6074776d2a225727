-- One page of the run-time keys, newest first.
--
-- KEYS[1]  index (sorted set: key id by its number)   KEYS[2]  keys (hash: key id to its record)
-- ARGV     id of the last key of the page before (empty: the first page), keys wanted
-- Returns  the records, or nil when there is no key of that id.
local from = '+inf'
if ARGV[1] ~= '' then
  local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not number then return nil end
  from = '(' .. number
end
local ids = redis.call('ZREVRANGEBYSCORE', KEYS[1], from, '-inf', 'LIMIT', 0, ARGV[2])
if #ids == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(ids))

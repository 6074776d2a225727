-- Writes the record of a run-time key, if it still is what the gateway has read.
--
-- KEYS     1 keys (hash: key id to its record)      2 digests (hash: digest to key id)
--          3 index (sorted set: id by number)       4 changed (sorted set: id by its last change)
--          5 ends (sorted set: what to forget, by the second)      6 number of the last change
-- ARGV     id, the record that was read (empty: a new key), the record to write,
--          second in which the key is forgotten (0: never),
--          then for each digest: the digest, the second in which it is forgotten (0: never)
-- Returns  1, or 0 when somebody else has changed the key meanwhile.
--
-- Numbers are microseconds of the server's clock, made to rise: a server that lost its last second
-- of writes doesn't give their numbers out again.

local keys, digests, index, changed, ends, counter = unpack(KEYS)
local clock = redis.call('TIME')
local SWEEP = 100 -- things forgotten with one write, at most: the work stays bounded
for _, what in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', clock[1], 'LIMIT', 0, SWEEP)) do
  local kind, name = string.sub(what, 1, 1), string.sub(what, 3)
  if kind == 'd' then
    redis.call('HDEL', digests, name)
  else
    redis.call('HDEL', keys, name)
    redis.call('ZREM', index, name)
    redis.call('ZREM', changed, name)
  end
  redis.call('ZREM', ends, what)
end

local id, expected, record, forget = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local current = redis.call('HGET', keys, id) or ''
if current == record then return 1 end -- written before; the answer got lost
if current ~= expected then return 0 end

local last = tonumber(redis.call('GET', counter) or 0)
local number = math.max(tonumber(clock[1]) * 1000000 + tonumber(clock[2]), last + 1)
number = string.format('%.0f', number)
redis.call('SET', counter, number)
redis.call('HSET', keys, id, record)
redis.call('ZADD', expected == '' and index or changed, number, id)
if forget ~= '0' then redis.call('ZADD', ends, forget, 'k:' .. id) end
for n = 5, #ARGV, 2 do
  if ARGV[n + 1] == '0' then
    redis.call('HSET', digests, ARGV[n], id)
  else
    redis.call('ZADD', ends, ARGV[n + 1], 'd:' .. ARGV[n])
  end
end
return 1

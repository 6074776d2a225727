-- Writes one batch of a gateway process's request log, once however often it is sent.
--
-- KEYS[1]  number of the last batch that this process wrote   KEYS[2]  the records (stream)
-- KEYS[3]... rollup hashes, one for each group of amounts below
-- ARGV     number of this batch, life of KEYS[1] in seconds,
--          most records kept, longest age of a record in seconds,
--          n, then n encoded records,
--          then for each rollup hash: when it expires (seconds since the epoch), number of fields,
--          and field, amount for each of them.
-- Returns  1, or 0 when the batch had been written before (its answer got lost).
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])

local stream, age, last = KEYS[2], tonumber(ARGV[4]), 5 + tonumber(ARGV[5])
if last > 5 then
  for n = 6, last do redis.call('XADD', stream, '*', 'r', ARGV[n]) end
  redis.call('XTRIM', stream, 'MAXLEN', ARGV[3])
  local oldest = (tonumber(redis.call('TIME')[1]) - age) * 1000
  redis.call('XTRIM', stream, 'MINID', string.format('%.0f', math.max(oldest, 0)))
  redis.call('EXPIRE', stream, age)
end

local at = last + 1
for n = 3, #KEYS do
  local key, first = KEYS[n], at + 2
  local fields = tonumber(ARGV[at + 1])
  for place = first, first + 2 * fields - 2, 2 do
    redis.call('HINCRBY', key, ARGV[place], ARGV[place + 1])
  end
  redis.call('EXPIREAT', key, ARGV[at])
  at = first + 2 * fields
end
return 1

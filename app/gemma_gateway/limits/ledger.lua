-- Adds one batch of usage to a caller's counts, once however often it is sent.
--
-- KEYS[1]  counts of all time (hash)   KEYS[2]  counts of one day (hash)
-- KEYS[3]  marker of this batch: it is there once the batch was added
-- ARGV     life of KEYS[2] and of KEYS[3] in seconds, then field, amount...
-- Returns  1, or 0 when the batch had been added before (its answer got lost).
if not redis.call('SET', KEYS[3], '', 'NX', 'EX', ARGV[2]) then return 0 end
for n = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[n], ARGV[n + 1])
  redis.call('HINCRBY', KEYS[2], ARGV[n], ARGV[n + 1])
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1

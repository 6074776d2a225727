-- Notes callers that were used on a day.
--
-- KEYS[1]  callers by the day of their last use (sorted set)
-- ARGV     the day, the oldest day that is kept (both as day numbers), life of KEYS[1] in seconds,
--          then the callers.
for n = 4, #ARGV do redis.call('ZADD', KEYS[1], 'GT', ARGV[1], ARGV[n]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1

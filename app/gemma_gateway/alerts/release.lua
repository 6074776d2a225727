-- Gives the lease up, if it is ours.
--
-- KEYS[1] lease   ARGV[1] token of this process
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0

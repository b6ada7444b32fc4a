-- Makes the lease of an attempt valid for a while from now on, also where it has expired.
--
-- KEYS[1]   <prefix>lease:<job id>:<number>:<token>  string  '1': there while the attempt has its lease
--
-- ARGV[1]   how long it is valid, in milliseconds

if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1

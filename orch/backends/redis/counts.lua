-- Jobs per state, in the order of a job's life.
return {redis.call('ZCARD', OF_PENDING), redis.call('ZCARD', OF_RUNNING), redis.call('ZCARD', OF_SUCCESS),
  redis.call('ZCARD', OF_FAILED)}

"""Jobs in Redis: accepted by the API, worked on by the workers, read by everybody.

| module | what it has |
| --- | --- |
| `store` | the job as a whole, and the way to all that follows: accept, close, cancel, get, recent |
| `admission`, `estimates` | which jobs are let in; when a job will be done (from `pace` and `queue_survey`) |
| `backlog`, `fair_shares` | the queue of tasks, and what its owners are charged |
| `claims`, `leases`, `fence` | attempts at tasks, for how long each is valid, and which of them may write |
| `progress` | how far tasks are |
| `endings`, `webhooks`, `expiry` | what every ending writes, whom to tell, what to delete |
| `recovery` | tasks whose message was lost |
| `commits` | the one way in which a record changes |
| `records`, `keys`, `scripts` | the values of a record, the names of all keys, the Lua scripts (`lua/`) |
| `submissions`, `workers`, `status` | retries of a request, the register of workers, what is told about a job |

`docs/architecture.md` lists every key in Redis with what it holds and who writes it.
"""

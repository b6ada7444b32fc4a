"""The dialect of the A1111 web UI: `/sdapi/v1`, and `/agent-scheduler/v1` of the extension that queues."""

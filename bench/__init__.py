"""How fast tcpd is, beside what else could serve: `python -m bench`.

Rules:
- Every server is a process of its own on one core, the load (in C, compiled when it is needed) a
  process on another; all traffic is loopback, all ports are the kernel's choice.
- The machine is noisy, so servers are measured in turn, in rounds. A ratio is taken between
  neighbours of one round; what is reported is the median of those, with the least and the most.
- tcpd is `twistd -n tcpd` with its default configuration, access log and all.
- Every run is bounded in time and in messages; every process that was started is ended, by its pid.
- What isn't installed (a library, a compiler's header) is left out, and said.
"""

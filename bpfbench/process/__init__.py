"""Children that are always ended: whole process trees, deadlines, logs, clean-up after any crash.

Three roles stand between a call of ``Reaper.start`` and the command that is measured::

    harness ───── order, stop ────▶ supervisor ──fork, exec──▶ command ──▶ its workers, daemons, …
       │    ◀──── started, exit ───     ▲                         │
       └── "a supervisor, please" ─▶ reaper (forks it)            └─ stdout, stderr ─▶ log files

- The *harness* is this program (``reaper.Reaper``, ``child.Child``). It may be large, threaded, forked or
  killed. It is never in the way of a child's output: children write straight into their logs, where
  ``Child.expect`` reads.
- The *reaper* (``forkserver``) is started once a run: a bare interpreter, so that forking is cheap.
- A *supervisor* looks after one command at a time: it execs it and adopts every orphan below it
  (``PR_SET_CHILD_SUBREAPER``), so that "no child left" means "tree gone". It ends the tree when told so, when
  the command exits, and when the harness or the reaper dies: it sleeps on a pidfd of each.

Who is killed with -9, and who cleans up then: harness or reaper → the supervisors; a supervisor → the reaper,
which adopts its orphans; all three → ``leftovers.reap_leftovers``, at the next start. Nothing that we did not
start is ever signalled.
"""

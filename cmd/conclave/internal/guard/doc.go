// Package guard runs a command that must not outlive a deadline which moves.
//
// # Processes
//
//	conclave ── knows the lease, tells the guard each new deadline
//	   │  socket
//	guard ───── parent of the command, ends it in time
//	   │
//	command ─── and whatever it starts
//
// The guard is a process of its own, made from the same binary, because the one that
// renews the lease may be the one that hangs: when conclave is stopped, killed, or starved of
// processor time, no new deadline comes, and the guard ends the command by itself. When the guard
// is killed, the kernel kills the command (PR_SET_PDEATHSIG) and conclave the rest. When the guard is
// stopped, conclave kills everything: at the last deadline that the guard has taken. A signal of a terminal or a supervisor
// that ends the guard before it has started the command, when it does not heed such signals yet, counts as the command's.
//
// # States
//
//	(start) ── later than KillBefore ahead of the deadline ──────────────────────▶ done, without the command
//	running ── KillBefore ahead of the deadline, or lost, or conclave is gone ──▶ ending
//	running ── the command has exited, its children have not ────────────────────▶ ending
//	running ── the command has exited, and nothing is left ──────────────────────▶ done
//	ending ─── nothing is left ──────────────────────────────────────────────────▶ done
//	ending ─── a third of KillBefore ahead of the deadline ──────────────────────▶ killing
//	killing ── nothing is left ──────────────────────────────────────────────────▶ done
//
// After a loss that comes sooner than that, the deadline is KillBefore from then, if the lease's is not sooner.
//
// In ending everything has got SIGTERM (or what was chosen) and SIGCONT, in killing it gets SIGKILL again
// and again. Once a command is being ended, a later renewal does not save it.
//
// # What is ended
//
// On Linux the guard is the subreaper of all that descends from the command, so that nothing gets
// away by leaving its process group or session, or by the death of its parent. Elsewhere it is the command's
// process group.
//
// Without a controlling terminal the command has a process group of its own. With one it shares conclave's, so that
// the terminal's own signals and the shell's job control are what they would be without us.
//
// What cannot be had: a process in uninterruptible sleep does not die before it wakes; if conclave and the guard are killed at
// one moment, the kernel kills the command itself but none of its children; a set-user-ID command loses its
// death signal; if the machine or the whole cgroup is frozen, all are, and the guard acts when it wakes.
package guard

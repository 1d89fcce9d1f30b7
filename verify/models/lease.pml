/*
 * The deadline of a lease (lease/round.go) against etcd leaders that were deposed and do
 * not know it. A tick is a unit of time. All times are distances from now, so the model has
 * no end: it is exhaustive for runs of any length.
 *
 * Only the true leader's countdown ends the lease. A deposed one acknowledges keep-alives
 * all the same, with its old term. A round is a keep-alive and then a look, which is
 * linearizable and so tells the true leader's term, or that of a later one.
 */

#ifndef TTL
#define TTL 5
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2  /* keep-alives under way at once: slow is not dead */
#endif
#define DRIFT 1     /* the server's clock gains at most one tick in a TTL */
#ifdef NO_ALLOWANCE
#define VALID TTL
#else
#define VALID (TTL - DRIFT)
#endif

mtype = { idle, sent, acked, looking, ended };

byte left = TTL;          /* ticks until the true leader ends the lease */
byte since = TTL;         /* client's ticks since the server's clock gained one */
bool expired = false;     /* the lease has ended, and another client may own what it protected */
bool stale = false;       /* there is a deposed leader that does not know it */

byte until = VALID;       /* ticks until the client's deadline, 0: over */
bool over = false;        /* the client has ended the lease */

mtype state[ATTEMPTS] = idle;
byte worth[ATTEMPTS];     /* ticks until the deadline that the attempt is good for */
bool deposed[ATTEMPTS];   /* its acknowledgement is of an older term than the look will tell */

#define DONE(a) state[a] = idle; worth[a] = 0; deposed[a] = false

byte n;

/* One step of time: client's ticks are the server's, but for drift. */
active proctype Time() {
	do
	:: atomic {
		d_step {
			if
			:: left > 0 -> left--
			:: else
			fi;
			if
			:: since < TTL -> since++
			:: else
			fi;
#ifdef POLLED
			if
			:: until > 0 -> until--
			:: else
			fi;
#else
			if
			:: until > 1 -> until--
			:: until <= 1 -> until = 0; over = true /* the timer */
			fi;
#endif
			n = 0;
			do
			:: n < ATTEMPTS && worth[n] > 0 -> worth[n]--; n++
			:: n < ATTEMPTS && worth[n] == 0 -> n++
			:: n == ATTEMPTS -> break
			od;
			n = 0
		}
		if
		:: since == TTL && left > 0 -> left--; since = 0 /* the server's clock is fast */
		:: true
		fi }
	:: atomic { left == 0 && !expired -> expired = true }
#ifdef STALLED_LEADER
	:: atomic { !expired -> expired = true } /* one that resumes after a stall may revoke live leases */
#endif
	:: atomic { !expired -> /* another leader; it gives every lease a full TTL */
		left = TTL; stale = true;
		d_step {
			n = 0;
			do
			:: n < ATTEMPTS && (state[n] == acked || state[n] == looking) -> deposed[n] = true; n++
			:: n < ATTEMPTS && state[n] != acked && state[n] != looking -> n++
			:: n == ATTEMPTS -> break
			od;
			n = 0
		} }
	:: atomic { stale -> stale = false }
#ifdef POLLED
	:: atomic { until == 0 && !over -> over = true }
#endif
	od
}

proctype Attempt(byte a) {
	do
	:: atomic { state[a] == idle && !over -> state[a] = sent; worth[a] = VALID }
	:: atomic { state[a] == sent && !expired -> /* the true leader has it; the answer is on its way */
		left = TTL; state[a] = acked; deposed[a] = false }
	:: atomic { state[a] == sent && stale -> /* the deposed one has */
		state[a] = acked; deposed[a] = true }
	:: atomic { state[a] == sent -> DONE(a) } /* lost */
#ifdef NO_LOOK
	:: atomic { state[a] == acked -> state[a] = looking; deposed[a] = false }
#elif defined(LOOK_ASIDE)
	:: atomic { state[a] == acked -> state[a] = looking;
		if
		:: deposed[a] = false /* a look from before: it may have seen the old term */
		:: true
		fi }
#elif defined(LOOK_LOCAL)
	:: atomic { state[a] == acked -> state[a] = looking;
		if
		:: stale -> deposed[a] = false /* answered by a member that knows no more than the deposed leader */
		:: true
		fi }
#else
	:: atomic { state[a] == acked -> state[a] = looking }
#endif
	:: atomic { state[a] == acked -> DONE(a) }
	:: atomic { state[a] == looking -> /* the look is answered */
		if
		:: deposed[a] -> skip
		:: !deposed[a] ->
#ifndef REVIVED
			if
			:: over -> skip
			:: !over ->
#else
			if
			:: true -> over = false;
#endif
#ifdef FROM_RECEIPT
				until = VALID
#elif defined(FROM_LATEST)
				/* the answer to one attempt is taken for the answer to the latest */
				n = worth[a];
				if
				:: worth[ATTEMPTS - 1 - a] > n -> until = worth[ATTEMPTS - 1 - a]
				:: else -> until = (n > until -> n : until)
				fi;
				n = 0
#else
				until = (worth[a] > until -> worth[a] : until)
#endif
			fi
		fi;
		DONE(a) }
	:: atomic { state[a] == looking -> DONE(a) } /* lost, or given up */
	od
}

/* S3, and: once over, always over. */
#define bad (expired && until > 0 && !over)
#ifdef POLLED
#undef bad
#define bad (expired && !over)
#endif
bool was = false;

active proctype Watchdog() {
	do
	:: atomic { bad -> assert(false) }
	:: atomic { over && !was -> was = true }
	:: atomic { was && !over -> assert(false) }
	od
}

init {
	atomic {
		n = 0;
		do
		:: n < ATTEMPTS -> run Attempt(n); n++
		:: else -> break
		od;
		n = 0
	}
}

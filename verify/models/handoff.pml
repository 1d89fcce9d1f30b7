/*
 * Local hand-off (lock/station*.go, linger.go): goroutines of one process share one entry,
 * which goes from one to the next in memory, up to MAX times; then it is given up and put
 * again at the end, in one transaction. Another process stands in the same queue. How an
 * entry waits is in mutex.pml: here it owns once it is the oldest.
 */

#ifndef WAITERS
#define WAITERS 2  /* goroutines of the process */
#endif
#ifndef ROUNDS
#define ROUNDS 2   /* acquisitions of each */
#endif
#ifndef MAX
#define MAX 1      /* hand-offs of an entry */
#endif
#ifndef LINGER
#define LINGER 0   /* 1: an entry that nobody wants is kept */
#endif
#ifndef TIMER
#define TIMER 1    /* 0: and not given up until another process wants it */
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 0 /* leases that end; there is another at once */
#endif
#ifndef WRITES
#define WRITES 0   /* transactions of holders without an answer */
#endif
#ifndef OTHERS
#define OTHERS 1   /* acquisitions of the other process */
#endif

/* The store: entries by their create revisions, 0: not there. */
byte rev = 1;
byte entry = 0;    /* the station's */
byte old = 0;      /* one of a lease that has ended at the client, not yet at the server */
byte other = 0;

/* The station. */
mtype = { vacant, acquiring, held, lingering };
mtype state = vacant;
byte sequence = 0;
byte waiting = 0;  /* the set of goroutines in the line */
byte granted = 0;  /* the set of those who have been given the entry */
byte holder = 0;   /* who has it, from 1 */
bool exposed = false;  /* a transaction may commit at any later time while the entry is there */
bool wanted = false;   /* another process is known to wait */
bool watches = false;
byte since = 0;        /* the revision at which the watch for others began */
bool stuck = false;    /* an entry that waits for one that is gone */

byte write = 0;    /* create revision that guards a transaction under way */
byte writer = 0;   /* the hold that it is of: goroutine and round */
byte lastRevision = 0, lastSequence = 0;
byte passed = 0;   /* grants of the station since the other process waits */
bool otherHolds = false;
byte done = 0, left = OTHERS;
byte cancels = CANCELS, expiries = EXPIRIES, writes = WRITES;

#define bit(n) (1 << (n))
#define owns(e) ((e) != 0 && (other == 0 || (e) < other) && (old == 0 || (e) < old || (e) == old))

/* give: the entry goes to a goroutine. */
inline give(gTo) {
	if
	:: other != 0 && state != lingering -> passed++; assert(passed <= MAX + 1) /* others get their turn */
	:: else
	fi;
	waiting = waiting & ~bit(gTo); granted = granted | bit(gTo); holder = gTo + 1; state = held;
	assert(entry > lastRevision || (entry == lastRevision && sequence > lastSequence)); /* S2 */
	lastRevision = entry; lastSequence = sequence;
	assert(entry != 0 && entry != old && !otherHolds) /* S3, and no hold that is over already */
}

/* giveAny: to one of those who wait. */
inline giveAny() {
	if
	:: waiting & bit(0) -> give(0)
	:: waiting & bit(1) -> give(1)
#if WAITERS > 2
	:: waiting & bit(2) -> give(2)
#endif
	fi
}

inline enqueue() { rev++; entry = rev; sequence = 0; exposed = false; wanted = false; watches = false }

inline delete() { rev++; entry = 0; exposed = false; wanted = false; watches = false; state = vacant; holder = 0 }

proctype Waiter(byte g) {
	byte round;

idle:
	if
	:: round == ROUNDS -> goto finished
	:: round < ROUNDS
	fi;
	atomic { /* enter */
		if
		:: state == lingering && waiting == 0 ->
#ifndef SEQUENCE_KEPT
			sequence++;
#endif
			give(g)
		:: else -> waiting = waiting | bit(g);
			if
			:: state == vacant -> state = acquiring; enqueue()
			:: else
			fi
		fi
	}
	if
	:: atomic { granted & bit(g) -> goto holds }
	:: atomic { cancels > 0 && (waiting & bit(g)) -> cancels--; waiting = waiting & ~bit(g); round++;
		if
		:: waiting == 0 && state == acquiring -> delete()
		:: else
		fi;
		goto idle }
#ifdef TURN_LOST
	:: atomic { cancels > 0 && (granted & bit(g)) -> cancels--; granted = granted & ~bit(g); round++; goto idle }
#endif
	fi;

holds:
	do
	:: atomic { holder == g + 1 && writes > 0 && write == 0 -> writes--; write = entry; writer = g * 16 + round + 1; exposed = true }
	:: atomic { holder != g + 1 -> granted = granted & ~bit(g); round++; goto idle } /* the lease has ended */
	:: atomic { holder == g + 1 -> /* unlock */
		granted = granted & ~bit(g); holder = 0; round++;
		if
#ifdef HANDED_ON_EXPOSED
		:: waiting != 0 && sequence < MAX -> sequence++; giveAny()
#elif defined(NO_MAXIMUM)
		:: !exposed && waiting != 0 -> sequence++; giveAny()
#else
		:: !exposed && waiting != 0 && sequence < MAX -> sequence++; giveAny()
#endif
		:: !exposed && waiting == 0 && LINGER && !wanted -> state = lingering; watches = true; since = rev
		:: else ->
			if
			:: waiting == 0 -> delete()
			:: waiting != 0 -> /* deleted and put again, in one transaction */
#ifdef RANGE_FIRST
				stuck = true; /* it takes its own old entry for its predecessor */
#endif
				enqueue(); state = acquiring
			fi
		fi;
		goto idle }
	od;

finished:
	atomic { done++ }
}

/* Station: what it does without its goroutines. */
active proctype Station() {
end:
	do
	:: atomic { state == acquiring && !stuck && owns(entry) ->
		if
		:: waiting != 0 -> giveAny()
		:: else -> delete()
		fi }
#if TIMER
	:: atomic { state == lingering -> delete() }
#endif
#ifdef NO_FIRST_READ
	:: atomic { watches && other > since -> wanted = true; watches = false }
#else
	:: atomic { watches && other != 0 -> wanted = true; watches = false }
#endif
	:: atomic { wanted && state == lingering -> delete() }
	:: atomic { expiries > 0 && entry != 0 && old == 0 -> /* the deadline passes */
		expiries--; old = entry;
#ifdef DEADLINE_IGNORED
		if
		:: state == held
		:: else -> entry = 0; state = vacant
		fi;
#else
		entry = 0; holder = 0; exposed = false; state = vacant;
#endif
		wanted = false; watches = false }
	:: atomic { old != 0 -> old = 0 } /* the server ends it, too */
	:: atomic { state == vacant && waiting != 0 -> state = acquiring; enqueue() }
	:: atomic { write != 0 -> /* a transaction arrives */
		if
		:: (entry == write || old == write) -> assert(entry != write || (holder != 0 && (granted & bit(writer / 16)))) /* S4 */
		:: else
		fi;
		write = 0; writer = 0 }
	od
}

active proctype Other() {
	do
	:: left == 0 -> break
	:: atomic { left > 0 -> left--; rev++; other = rev; passed = 0 }
		atomic { (entry == 0 || other < entry) && (old == 0 || other < old) ->
			assert(holder == 0); /* S1, S3 */
			otherHolds = true }
		atomic { otherHolds = false; rev++; other = 0; passed = 0 }
	od;
	atomic { done++ }
}

active proctype Rest() {
end:
	atomic { timeout -> assert(done == WAITERS + 1); assert(entry == 0 || state == lingering) }
}

init {
	byte n;
	atomic {
		do
		:: n < WAITERS -> run Waiter(n); n++
		:: else -> break
		od
	}
}

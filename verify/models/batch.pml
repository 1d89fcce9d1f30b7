/*
 * Group commit: enqueues and removals of one client that are asked for while a request is out
 * go out together in the next, as one transaction with all conditions in one If; singly when
 * that was refused. Two names; a client with a goroutine for each, and a rival for the first. How an
 * entry waits is in mutex.pml: here it owns once it is the oldest of its name.
 */

#define CLIENTS 2
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef LATE
#define LATE 1      /* batches without an answer */
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 0  /* leases that end at the server; each goroutine has its own then */
#endif

#define KEYS 4       /* key k is of client k / 2, in the queue of name(k); the rival has no other */
#define GOROUTINES 3
#ifdef ONE_NAME
#define name(k) 0   /* two operations for a name in a batch */
#else
#define name(k) ((k) % 2)
#endif
#define bit(n) (1 << (n))

byte rev = 1;
byte created[KEYS];
byte nonce[KEYS];
bool alive[KEYS] = true;  /* the lease of the key */
byte owners = 0;          /* the set of keys that hold */

/* What goroutines ask of their client. */
mtype = { none, put, remove, applied, refused, expired, gone };
mtype want[KEYS] = none;
byte me[KEYS];            /* the nonce of the acquisition */
byte mine[KEYS];          /* its create revision, once known */
bool alone[KEYS];         /* to be sent singly: a batch was refused */

/* A batch that may arrive yet, for each client. */
byte latePuts[CLIENTS];   /* the set of keys, as bits 0 and 1 */
byte lateMe0[CLIENTS], lateMe1[CLIENTS];

/* Keys in doubt. */
bool doubt[KEYS];
byte unsettled[KEYS];
byte value[KEYS];

byte done = 0, late = LATE, cancels = CANCELS, expiries = EXPIRIES;
byte i;

#define first(k)  (created[k] != 0 && nobody(k, 0) && nobody(k, 1) && nobody(k, 2) && nobody(k, 3))
#define nobody(k, o) ((o) == (k) || created[o] == 0 || name(o) != name(k) || created[o] >= created[k])

proctype Goroutine(byte k) {
	byte round;

idle:
	if
	:: round == ROUNDS -> goto finished
	:: round < ROUNDS && doubt[k] && unsettled[k] > 0 -> goto finished /* the model has one key for each */
	:: atomic { round < ROUNDS && !doubt[k] && alive[k] -> me[k]++; mine[k] = 0; want[k] = put }
	:: !alive[k] -> goto finished
	fi;
	if
	:: atomic { want[k] == applied -> want[k] = none }
	:: atomic { want[k] == refused -> want[k] = none;
		/* another's value: the key is in doubt for ever, and the model has no other */
		assert(false) }
	:: atomic { want[k] == expired && !alive[k] -> want[k] = none; goto idle }
	:: atomic { cancels > 0 && want[k] == put -> cancels--; want[k] = none; round++;
		if
		:: unsettled[k] > 0 -> doubt[k] = true; value[k] = me[k]
		:: else
		fi;
		goto idle }
	fi;
	if
	:: atomic { first(k) && created[k] == mine[k] ->
		i = 0;
		do
		:: i < KEYS -> assert(i == k || !(owners & bit(i)) || name(i) != name(k)); i++ /* S3 */
		:: else -> break
		od;
		i = 0; owners = owners | bit(k) }
	:: atomic { !alive[k] -> goto idle }
	fi;
	if
	:: atomic { owners = owners & ~bit(k); want[k] = remove }
	fi;
	if
	:: atomic { want[k] == gone -> want[k] = none; mine[k] = 0; round++;
		if
		:: unsettled[k] > 0 -> doubt[k] = true; value[k] = me[k]
		:: else
		fi;
		goto idle }
	:: atomic { !alive[k] && want[k] != gone -> want[k] = none; goto idle }
	fi;

finished:
	atomic { done++ }
}

/* one: the operation of a key alone. */
inline one(oKey) {
	d_step {
		if
		:: want[oKey] == put && !alive[oKey] -> want[oKey] = expired
		:: want[oKey] == put && alive[oKey] && created[oKey] == 0 ->
			rev++; created[oKey] = rev; nonce[oKey] = me[oKey]; mine[oKey] = rev; want[oKey] = applied
		:: want[oKey] == put && alive[oKey] && created[oKey] != 0 && nonce[oKey] == me[oKey] ->
			mine[oKey] = created[oKey]; want[oKey] = applied;
			if
			:: unsettled[oKey] > 0 -> unsettled[oKey]--
			:: else
			fi
		:: want[oKey] == put && alive[oKey] && created[oKey] != 0 && nonce[oKey] != me[oKey] -> want[oKey] = refused
		:: want[oKey] == remove ->
			if
			:: created[oKey] == mine[oKey] -> rev++; created[oKey] = 0; nonce[oKey] = 0
			:: else
			fi;
			want[oKey] = gone
		:: else
		fi;
		alone[oKey] = false
	}
}

#define holdsOf(k)  (want[k] == put && created[k] == 0 || want[k] == remove && created[k] == mine[k])
#define A (c * 2)
#define B (c * 2 + 1)
#define asks(k) (want[k] == put || want[k] == remove)
#if EXPIRIES && !defined(LEASES_MIXED)
#define together(c) false   /* a batch is of one lease */
#else
#define together(c) true
#endif

proctype Batcher(byte c) {
end:
	do
	:: atomic { asks(A) && (alone[A] || !asks(B) || !together(c)) -> one(A) }
	:: atomic { asks(B) && (alone[B] || !asks(A) || !together(c)) -> one(B) }
	:: atomic { asks(A) && asks(B) && !alone[A] && !alone[B] && together(c) ->
		if
		:: want[A] == put && !alive[A] || want[B] == put && !alive[B] -> /* refused as a whole */
			want[A] = (want[A] == put -> expired : want[A]); want[B] = (want[B] == put -> expired : want[B])
		:: else ->
			if
			:: holdsOf(A) && holdsOf(B) -> /* all at one revision, the ranges last */
				d_step {
					rev++;
					if
					:: want[A] == put -> created[A] = rev; nonce[A] = me[A]; mine[A] = rev; want[A] = applied
					:: else -> created[A] = 0; nonce[A] = 0; want[A] = gone
					fi;
					if
					:: want[B] == put -> created[B] = rev; nonce[B] = me[B]; mine[B] = rev; want[B] = applied
					:: else -> created[B] = 0; nonce[B] = 0; want[B] = gone
					fi
				}
			:: else ->
#ifdef REFUSED_TAKEN_FOR_DONE
				if
				:: want[A] == remove -> want[A] = gone
				:: else -> alone[A] = true
				fi;
				if
				:: want[B] == remove -> want[B] = gone
				:: else -> alone[B] = true
				fi
#else
				alone[A] = true; alone[B] = true
#endif
			fi
		fi }
	/* No answer: the puts of the batch may arrive later, or never. */
	:: atomic { late > 0 && latePuts[c] == 0 && want[A] == put ->
		late--; latePuts[c] = 1; lateMe0[c] = me[A];
#ifndef UNANSWERED_NOT_COUNTED
		unsettled[A]++;
#endif
		if
		:: want[B] == put && together(c) -> latePuts[c] = 3; lateMe1[c] = me[B];
#if !defined(UNANSWERED_NOT_COUNTED) && !defined(ONLY_FIRST_COUNTED)
			unsettled[B]++
#endif
		:: true
		fi }
	:: atomic { latePuts[c] != 0 ->
		if
		:: alive[A] && created[A] == 0 && (latePuts[c] == 1 || alive[B] && created[B] == 0) ->
			d_step {
				rev++; created[A] = rev; nonce[A] = lateMe0[c];
				if
				:: latePuts[c] == 3 -> created[B] = rev; nonce[B] = lateMe1[c]
				:: else
				fi
			}
		:: true
		fi;
		latePuts[c] = 0; lateMe0[c] = 0; lateMe1[c] = 0 }
	od
}

/* Key: looks at a key in doubt; the end of its lease. */
proctype Key(byte k) {
end:
	do
	:: atomic { doubt[k] && created[k] != 0 && nonce[k] == value[k] ->
		d_step { rev++; created[k] = 0; nonce[k] = 0; unsettled[k]-- }
		if
		:: unsettled[k] == 0 -> doubt[k] = false; value[k] = 0
		:: else
		fi }
	:: atomic { expiries > 0 && alive[k] -> expiries--; alive[k] = false; owners = owners & ~bit(k); created[k] = 0; nonce[k] = 0; rev++ }
	od
}

active proctype Rest() {
	byte k;
end:
	atomic { timeout ->
		assert(done == GOROUTINES);
		do
		:: k < KEYS -> assert(created[k] == 0); k++
		:: else -> break
		od
	}
}

init {
	byte n;
	atomic {
		do
		:: n < GOROUTINES -> run Goroutine(n); run Key(n); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < CLIENTS -> run Batcher(n); n++
		:: else -> break
		od
	}
}

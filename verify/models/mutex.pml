/*
 * The lock queue of internal/queue with what internal/look does for it: an etcd store
 * with revisions, clients that acquire and release, requests that arrive late or never,
 * answers and events that do not come, leases that end.
 *
 * States have the names that the documentation of internal/queue gives them: reserved, pending,
 * waiting, owner, removing, unsettled, gone; a lookup is the wake-up check.
 *
 * The store is its history: which keys were put and deleted at each revision. So a read
 * can be of any revision that a lagging member may have, and a watch can begin at one.
 */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef SLOTS
#define SLOTS 2    /* keys of one lease */
#endif
#ifndef LEASES
#define LEASES 1   /* leases that a client has one after another */
#endif
#ifndef ROUNDS
#define ROUNDS 2   /* acquisitions of each client */
#endif
#ifndef LATE
#define LATE 1     /* requests that get no answer */
#endif
#ifndef CANCELS
#define CANCELS 1  /* acquisitions given up while they wait */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0 /* deadlines that pass */
#endif
#ifndef EARLY
#define EARLY 0    /* leases that the server ends before the client's deadline */
#endif
#ifndef OPERATOR
#define OPERATOR 0 /* keys that an operator deletes */
#endif
#ifndef DEAF
#define DEAF 0     /* watches that deliver nothing */
#endif
#ifndef BROKEN
#define BROKEN 0   /* watches that the server ends */
#endif
#ifndef LAG
#define LAG 0      /* 1: members may lag behind */
#endif
#ifndef WRITES
#define WRITES 0   /* guarded transactions of holders */
#endif
#ifndef FEW
#define FEW 2      /* older entries that are known by name, if there are not more: 1 or 2 */
#endif
#ifndef FOREIGN
#define FOREIGN 0  /* 1: another library uses client 0's lease, and its first key */
#endif

#define KEYS   (CLIENTS * LEASES * SLOTS)
#define MAXREV 21
#define bit(n) (1 << (n))

/* Faults by which S3 is not promised. */
#define INTERFERENCE (EARLY + OPERATOR + FOREIGN > 0)

/* The store. */
byte rev = 1;
int putAt[KEYS];           /* the set of revisions at which each key was put */
int deletedAt[KEYS];           /* and of those at which it was deleted */
byte created[KEYS];       /* create revisions now, 0: not there */
byte nonce[KEYS];         /* whose entry it is */
bool server[CLIENTS * LEASES] = true;  /* the server has the lease */
int owned = 0;            /* create revisions of entries that have been the oldest */

/* Requests under way. */
byte latePut[KEYS];       /* nonce of a put that may arrive yet */
byte lateDelete[KEYS];    /* create revision that guards a deletion that may arrive yet */
byte lateWrite[CLIENTS];  /* create revision that guards a transaction of a holder */
byte writeKey[CLIENTS];

/* Clients. */
byte lease[CLIENTS];      /* the number of its lease, from 0 */
bool valid[CLIENTS * LEASES] = true;   /* before the lease's deadline */
byte reached[CLIENTS];    /* the revision that its watch has told of, 0: no watch */
byte holding[CLIENTS];    /* create revision of what it holds, 0: nothing */
int grants = 0;           /* create revisions granted so far */
byte done = 0;

/* Slots of look.List: what is in doubt is an entry in state unsettled. */
mtype = { free, used, doubt };
mtype slot[KEYS] = free;
byte acked[KEYS];         /* create revision of an entry whose removal is not confirmed */
byte unsettled[KEYS];     /* puts that may arrive yet */
byte value[KEYS];         /* nonce of these puts */
bool removal[KEYS];      /* a removal is under way in the background */
byte orphan[KEYS];        /* create revision of what a look has found under a key in doubt */

/* What may go wrong yet. */
byte late = LATE, cancels = CANCELS, expiries = EXPIRIES, early = EARLY, operator = OPERATOR;
byte deafs = DEAF, broken = BROKEN, writes = WRITES;

byte i, j, t; /* for counting; 0 between steps */

#define leaseOf(k)  ((k) / SLOTS)
#define L           (c * LEASES + lease[c])
#ifdef HANDOVER
#ifdef OWN_NOT_WATCHED
#define own 0
#else
#define own deletedAt[k]
#endif
#define watched (deletedAt[pred] | (all -> own | (headGone -> 0 : deletedAt[head]) : 0))
#else
#define watched deletedAt[pred]
#endif
#define first(l)    ((l) * SLOTS)
#ifdef STRANGERS
#define known(r) true          /* whoever the predecessor is, and whether it has owned */
#else
#define known(r) (grants & bit(r)) /* the predecessor is one of this process, and has owned */
#endif

inline noteOwner() {
	i = 0; j = 0;
	do
	:: i < KEYS && created[i] != 0 && (j == 0 || created[i] < j) -> j = created[i]; i++
	:: i < KEYS && !(created[i] != 0 && (j == 0 || created[i] < j)) -> i++
	:: i == KEYS -> break
	od;
	if
	:: j != 0 -> owned = owned | bit(j)
	:: else
	fi;
	i = 0; j = 0
}

#if LAG
#define remember(key) putAt[key] = putAt[key] | bit(rev)
#else
#define remember(key) skip
#endif

/* forget: drop the history that nobody can ask for, so that states are alike that differ
   in nothing else. */
inline forget() {
#if LAG
	skip
#else
	i = 0; j = rev;
	do
	:: i < CLIENTS && reached[i] != 0 && reached[i] < j -> j = reached[i]; i++
	:: i < CLIENTS && !(reached[i] != 0 && reached[i] < j) -> i++
	:: i == CLIENTS -> break
	od;
	i = 0;
	do
	:: i < KEYS -> deletedAt[i] = (deletedAt[i] >> (j + 1)) << (j + 1); i++
	:: else -> break
	od;
	i = 0; j = 0
#endif
}

inline storePut(key, by) {
	d_step {
		assert(rev < MAXREV);
		rev++; remember(key); created[key] = rev; nonce[key] = by;
		noteOwner()
	}
}

inline deleteSet(set) {
	d_step {
		assert(rev < MAXREV);
		rev++;
		i = 0;
		do
		:: i < KEYS && (set & bit(i)) -> deletedAt[i] = deletedAt[i] | bit(rev); created[i] = 0; nonce[i] = 0; i++
		:: i < KEYS && !(set & bit(i)) -> i++
		:: i == KEYS -> break
		od;
		noteOwner();
		forget()
	}
}

inline deleteKey(dKey) { t = bit(dKey); deleteSet(t); t = 0 }

/* at: the create revision of a key at a revision. */
inline at(aKey, aRev, out) {
#if !LAG
	out = created[aKey];
#else
	out = 0; i = aRev;
	do
	:: i > 0 && (putAt[aKey] & bit(i)) -> out = i; break
	:: i > 0 && (deletedAt[aKey] & bit(i)) -> break
	:: i > 0 && !((putAt[aKey] | deletedAt[aKey]) & bit(i)) -> i--
	:: i == 0 -> break
	od;
	i = 0
#endif
}

/* older: who is before the own entry at a revision: the newest of them, the one before that,
   and how many. If they are few, all are known from then on. */
inline older(oRev) {
	pred = 0; predCreated = 0; count = 0; j = 0;
#ifdef HANDOVER
	head = 0; headCreated = 0;
#endif
	do
	:: j < KEYS ->
		at(j, oRev, t);
		if
		:: t != 0 && t < mine -> count++;
			if
			:: t > predCreated ->
#ifdef HANDOVER
				head = pred; headCreated = predCreated;
#endif
				pred = j; predCreated = t
			:: else ->
#ifdef HANDOVER
				if
				:: t > headCreated -> head = j; headCreated = t
				:: else
				fi
#else
				skip
#endif
			fi
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0; t = 0;
#ifdef HANDOVER
	all = (count <= FEW);
#ifdef HEAD_KEPT
	headGone = headGone || count < 2
#elif defined(HEAD_IGNORED)
	headGone = true
#else
	headGone = (count < 2)
#endif
#endif
}

inline freeIfSettled(key) {
	if
	:: acked[key] == 0 && unsettled[key] == 0 -> slot[key] = free; value[key] = 0
	:: else
	fi
}

/* giveUp: doubt, and a removal in the background, of an entry of which mine is known and
   n puts are unsettled. */
inline giveUp(gKey, gMine, gN, by) {
	if
	:: gMine == 0 && gN == 0 -> slot[gKey] = free
	:: else ->
#ifdef NO_DOUBT
		slot[gKey] = free; /* the removal is tried once, and forgotten */
		if
		:: gMine != 0 && created[gKey] == gMine -> deleteKey(gKey)
		:: else
		fi
#else
		slot[gKey] = doubt; acked[gKey] = gMine; unsettled[gKey] = gN; value[gKey] = by; removal[gKey] = true
#endif
	fi
}

/* anyRevision: one that the connected member may have. */
inline anyRevision(from, rOut) {
#if LAG
	rOut = from;
	do
	:: rOut < rev -> rOut++
	:: break
	od;
	skip
#else
	rOut = rev
#endif
}

proctype Client(byte c) {
	byte k, me, by, mine, was, n, round, pred, predCreated, count, seen, after, r;
	bool deaf;
#ifdef HANDOVER
	byte head, headCreated; /* the entry before the predecessor */
	bool all, headGone;     /* no other is older; that one is not there any more, or never was */
#endif

reserved:
	atomic {
		me++; by = c * 16 + me;
		if
		:: round == ROUNDS -> goto finished
		:: round < ROUNDS && !valid[L] && lease[c] + 1 == LEASES -> goto finished
		:: round < ROUNDS && !valid[L] && lease[c] + 1 < LEASES -> lease[c]++
		:: round < ROUNDS && valid[L]
		fi;
	}
	atomic { /* Session.Lease and List.Reserve */
		mine = 0; n = 0; was = 0; pred = 0; predCreated = 0; count = 0; seen = 0; reached[c] = 0; after = 0; r = 0;
		deaf = false; k = first(L);
#ifdef HANDOVER
		head = 0; headCreated = 0; all = false;
#ifndef HEAD_KEPT
		headGone = false;
#endif
#endif
		do
		:: k < first(L) + SLOTS && slot[k] == free -> slot[k] = used; break
		:: k < first(L) + SLOTS && slot[k] != free -> k++
		:: k == first(L) + SLOTS -> goto finished /* a client of the model has no more slots */
		od
	}

pending:
	atomic {
		if
		:: !valid[L] -> goto lost
		:: valid[L] && server[L] -> /* applied and answered */
			if
			:: created[k] == 0 ->
				storePut(k, by);
				mine = rev; seen = rev;
				d_step { older(rev) };
				if
				:: count == 0 -> goto owner
				:: else -> goto watch
				fi
			:: created[k] != 0 ->
				if
#ifdef NO_NONCE
				:: true ->
#else
				:: nonce[k] == by ->
#endif
					mine = created[k];
					if
					:: n > 0 -> n--
					:: else
					fi;
					after = rev; goto lookup
#ifndef NO_NONCE
				:: nonce[k] != by -> n++; giveUp(k, 0, n, by); goto reserved
#endif
				fi
			fi
		:: valid[L] && late > 0 && latePut[k] == 0 -> /* no answer: it may arrive later, or never */
			late--; n++; latePut[k] = by; goto pending
		:: valid[L] && cancels > 0 && n > 0 -> /* ctx ends */
			cancels--; round++; giveUp(k, 0, n, by); goto reserved
		fi
	}

watch:
	atomic { /* a watch begins at the revision of its member, with a read if that is past what we have seen */
		if
		:: !valid[L] -> goto lost
		:: valid[L] ->
			anyRevision(1, reached[c]);
			deaf = false;
			if
			:: deafs > 0 -> deafs--; deaf = true
			:: true
			fi;
			if
#ifndef NO_CREATED_READ
			:: reached[c] > seen && !deaf ->
				anyRevision(reached[c], r);
#if defined(HANDOVER) && !defined(OWN_NOT_READ)
				if
				:: all ->
					d_step { at(k, r, was) };
					if
					:: was != mine -> goto gone
					:: else
					fi
				:: else
				fi;
#endif
#ifdef HANDOVER
				if
				:: all && !headGone -> d_step { at(head, r, was); headGone = (was != headCreated) }
				:: else
				fi;
#endif
				d_step { at(pred, r, was) };
#ifdef HANDOVER
				if
				:: all && headGone && was != predCreated -> goto owner
				:: else
				fi;
#endif
#ifdef BY_NAME
				if
				:: was == 0 -> after = reached[c]; goto lookup
				:: else
				fi;
#else
				if
				:: was != predCreated -> after = reached[c]; goto lookup
				:: else
				fi;
#endif
				skip
#endif
			:: else
			fi
		fi
	}
waiting:
	atomic {
		if
		:: !valid[L] -> goto lost
		:: valid[L] && !deaf && (watched >> (reached[c] + 1)) != 0 -> /* the next event is delivered, of revision r */
			d_step {
				r = reached[c] + 1;
				do
				:: !(watched & bit(r)) -> r++
				:: else -> break
				od
			}
			reached[c] = r;
#ifdef HANDOVER
#ifdef SEEN_FORGOTTEN
#define news(r) true
#else
#define news(r) (r > seen)
#endif
			d_step {
				if
				:: all && news(r) && (deletedAt[head] & bit(r)) -> headGone = true
				:: else
				fi
			};
#endif
			if
#ifdef HANDOVER
			:: !news(r) -> goto waiting
			:: news(r) && all && (own & bit(r)) -> goto gone
			:: news(r) && !(all && (own & bit(r))) && !(deletedAt[pred] & bit(r)) -> goto waiting
			:: news(r) && !(all && (own & bit(r))) && (deletedAt[pred] & bit(r)) ->
				if
				:: all && headGone -> goto owner
#ifdef NEIGHBOURS
				:: !(all && headGone) && known(predCreated) -> after = r; goto present
				:: !(all && headGone) && !known(predCreated) -> after = r; goto lookup
#else
				:: !(all && headGone) -> after = r; goto lookup
#endif
				fi
#else
#ifdef NO_CHECK
			:: r > seen -> goto owner
#else
			:: r > seen -> after = r; goto lookup
#endif
			:: r <= seen -> goto waiting
#endif
			fi
#ifndef NO_LOOK
#ifdef BY_NAME
		:: valid[L] && created[pred] == 0 -> after = rev; goto lookup /* a look notices */
#else
		:: valid[L] && created[pred] != predCreated -> after = rev; goto lookup /* a look notices */
#endif
		:: valid[L] && created[k] != mine -> goto gone
#endif
		:: valid[L] && broken > 0 -> broken--; after = seen; goto lookup
		:: valid[L] && cancels > 0 -> cancels--; round++; giveUp(k, mine, n, by); goto reserved
		fi
	}

#ifdef NEIGHBOURS
present:
	atomic { /* the wake-up check of one whose predecessor was known to be the oldest */
		reached[c] = 0;
		if
		:: !valid[L] -> goto lost
		:: valid[L] ->
			if
			:: after < mine -> after = mine
			:: else
			fi;
			anyRevision(after, r);
			d_step { at(k, r, was) };
			if
			:: was != mine -> goto gone
			:: else -> goto owner
			fi
		fi
	}
#endif

lookup:
	atomic { /* the wake-up check */
		reached[c] = 0;
		if
		:: !valid[L] -> goto lost
		:: valid[L] ->
#ifdef STALE_READ
			anyRevision(1, r);
#else
			if
			:: after < mine -> after = mine
			:: else
			fi;
			anyRevision(after, r);
#endif
			d_step { at(k, r, was) };
			if
			:: was != mine -> goto gone
			:: else
			fi;
			d_step { older(r) };
			seen = r;
			if
			:: count == 0 -> goto owner
			:: else -> goto watch
			fi
		fi
	}

owner:
	atomic {
		if
		:: !valid[L] -> goto lost
		:: else ->
			assert(owned & bit(mine));        /* S1: it has owned */
			assert(!(grants & bit(mine)));    /* S2: no token twice */
			grants = grants | bit(mine);
			i = 0;
			do
			:: i < CLIENTS ->
				assert(INTERFERENCE || i == c || holding[i] == 0); /* S3 */
				i++
			:: else -> break
			od;
			i = 0; holding[c] = mine
		fi
	}
	do
	:: atomic { valid[L] && writes > 0 && lateWrite[c] == 0 -> writes--; lateWrite[c] = mine; writeKey[c] = k }
	:: atomic { valid[L] && holding[c] != 0 && created[k] != mine -> /* a look finds it gone */
		assert(INTERFERENCE);
		holding[c] = 0; round++;
		if
		:: n == 0 -> slot[k] = free
		:: else -> slot[k] = doubt; unsettled[k] = n; value[k] = by
		fi;
		goto reserved }
	:: atomic { holding[c] == 0 -> round++; goto reserved } /* the deadline has passed */
#ifdef ENDED_LATE
	:: valid[L] -> goto removing
#else
	:: atomic { valid[L] -> holding[c] = 0; goto removing }
#endif
	od;

removing:
	atomic {
		if
		:: !valid[L] -> round++; goto reserved
		:: valid[L] && late > 0 && lateDelete[k] == 0 -> late--; lateDelete[k] = mine;
#ifdef SLOT_EARLY
			slot[k] = free; round++; goto reserved
#else
			goto removing
#endif
		:: valid[L] ->
			if
			:: created[k] == mine -> deleteKey(k)
			:: else
			fi;
			holding[c] = 0;
			if
#ifdef UNSETTLED_FORGOTTEN
			:: true -> slot[k] = free
#else
			:: n == 0 -> slot[k] = free
			:: else -> slot[k] = doubt; acked[k] = 0; unsettled[k] = n; value[k] = by
#endif
			fi;
			round++; goto reserved
		fi
	}

gone: /* errOwnGone: queue again */
	atomic {
		assert(created[k] != mine); /* nobody loses his place for nothing */
		giveUp(k, mine, n, by);
		goto reserved
	}

lost: /* the lease has ended: queue again under the next */
	goto reserved;

finished:
	atomic { done++ }
}

/* Key: what happens to one key without its client: late requests, removals in the
   background, looks at keys in doubt, an operator. */
proctype Key(byte k) {
end:
	do
	:: atomic { latePut[k] != 0 ->
		if
		:: server[leaseOf(k)] && created[k] == 0 -> storePut(k, latePut[k])
		:: true /* lost, or refused */
		fi;
		latePut[k] = 0 }
	:: atomic { lateDelete[k] != 0 ->
		if
#ifdef DELETE_UNGUARDED
		:: created[k] != 0 -> deleteKey(k)
#else
		:: created[k] == lateDelete[k] -> deleteKey(k)
#endif
		:: true
		fi;
		lateDelete[k] = 0 }
	:: atomic { operator > 0 && created[k] != 0 -> operator--; deleteKey(k) }
	:: atomic { valid[leaseOf(k)] && removal[k] -> /* applied and answered */
		removal[k] = false;
		if
		:: acked[k] != 0 && created[k] == acked[k] -> deleteKey(k); acked[k] = 0
		:: acked[k] != 0 && created[k] != acked[k] -> acked[k] = 0
		:: acked[k] == 0 && created[k] != 0 && nonce[k] == value[k] -> deleteKey(k); unsettled[k]--
		:: acked[k] == 0 && (created[k] == 0 || nonce[k] != value[k])
		fi;
		freeIfSettled(k) }
	:: atomic { valid[leaseOf(k)] && removal[k] && late > 0 -> /* given up: left to the look */
		late--; removal[k] = false;
		if
		:: acked[k] != 0 && lateDelete[k] == 0 -> lateDelete[k] = acked[k]
		:: else
		fi }
	:: atomic { valid[leaseOf(k)] && slot[k] == doubt && acked[k] != 0 && created[k] != acked[k] -> /* a look: gone */
		acked[k] = 0; freeIfSettled(k) }
	:: atomic { valid[leaseOf(k)] && slot[k] == doubt && orphan[k] == 0 && created[k] != 0 && (created[k] == acked[k] || nonce[k] == value[k]) ->
		orphan[k] = created[k] } /* a look: there; to be removed with the next request */
	:: atomic { valid[leaseOf(k)] && orphan[k] != 0 ->
		if
#ifdef ORPHAN_UNGUARDED
		:: created[k] != 0 ->
#else
		:: created[k] == orphan[k] ->
#endif
			deleteKey(k);
			if
			:: slot[k] == doubt && acked[k] == orphan[k] -> acked[k] = 0; freeIfSettled(k)
			:: slot[k] == doubt && acked[k] != orphan[k] && unsettled[k] > 0 -> unsettled[k]--; freeIfSettled(k)
			:: else
			fi
		:: else
		fi;
		orphan[k] = 0 }
	od
}

#if EXPIRIES + EARLY > 0
/* Lease: a deadline that passes, and the end of the lease on the server after it, or
   before. */
proctype Lease(byte l) {
	byte c = l / LEASES;
end:
	do
	:: atomic { lease[c] == l % LEASES && valid[l] && expiries > 0 -> expiries--; valid[l] = false; holding[c] = 0 }
	:: atomic { server[l] && (!valid[l] || early > 0) ->
		if
		:: valid[l] -> early--
		:: else
		fi;
		server[l] = false;
		d_step {
			t = 0; i = first(l);
			do
			:: i < first(l) + SLOTS && created[i] != 0 -> t = t | bit(i); i++
			:: i < first(l) + SLOTS && created[i] == 0 -> i++
			:: else -> break
			od;
			i = 0
		}
		if
		:: t != 0 -> deleteSet(t); t = 0
		:: else
		fi }
	:: atomic { !server[l] && valid[l] -> valid[l] = false; holding[c] = 0 } /* a keep-alive is answered so */
	od
}
#endif

#if WRITES > 0
/* Write: a guarded transaction of a holder arrives at last. */
proctype Write(byte c) {
end:
	do
	:: atomic { lateWrite[c] != 0 ->
		if
#ifdef GUARD_BY_NAME
		:: created[writeKey[c]] != 0 ->
#else
		:: created[writeKey[c]] == lateWrite[c] ->
#endif
			assert(created[writeKey[c]] == lateWrite[c]) /* S4 */
		:: else
		fi;
		lateWrite[c] = 0 }
	od
}
#endif

#if FOREIGN
/* Foreign: another library that takes the first key of client 0's lease, owns when it is the
   oldest, and deletes it. */
proctype Foreign() {
end:
	atomic { created[0] == 0 && server[0] -> storePut(0, 255) }
	atomic { nonce[0] == 255 ->
		d_step {
			i = 0; t = 1;
			do
			:: i < KEYS && created[i] != 0 && created[i] < created[0] -> t = 0; i++
			:: i < KEYS && !(created[i] != 0 && created[i] < created[0]) -> i++
			:: i == KEYS -> break
			od;
			i = 0
		}
		if
		:: t == 1 -> assert(!(grants & bit(created[0]))); grants = grants | bit(created[0])
		:: else
		fi;
		t = 0 }
	atomic { nonce[0] == 255 -> deleteKey(0) }
}
#endif

/* Progress: when nothing can happen any more, nobody waits, and no entry is left
   whose owner does not know of it. */
active proctype Rest() {
	byte k;
end:
	atomic { timeout ->
		assert(done == CLIENTS);
		do
		:: k < KEYS ->
			assert(created[k] == 0 || slot[k] == used);
			k++
		:: else -> break
		od
	}
}

init {
	byte n;
	atomic {
		do
		:: n < CLIENTS -> run Client(n); n++
		:: else -> break
		od;
		n = 0;
		do
		:: n < KEYS -> run Key(n); n++
		:: else -> break
		od;
#if EXPIRIES + EARLY > 0
		n = 0;
		do
		:: n < CLIENTS * LEASES -> run Lease(n); n++
		:: else -> break
		od;
#endif
#if WRITES > 0
		n = 0;
		do
		:: n < CLIENTS -> run Write(n); n++
		:: else -> break
		od;
#endif
#if FOREIGN
		run Foreign();
#endif
	}
}

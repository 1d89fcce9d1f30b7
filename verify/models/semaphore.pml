/*
 * A weighted lane of internal/queue, which a Semaphore stands in: who owns, who watches
 * what, and how it goes on when somebody releases. What is the same for all lanes (late
 * requests, keys in doubt, members that lag) is in mutex.pml.
 */

#ifndef CLIENTS
#define CLIENTS 4
#endif
#ifndef PERMITS
#define PERMITS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 0
#endif
#ifndef LOSTMARKS
#define LOSTMARKS 0 /* marks that do not arrive */
#endif
#ifndef STAYS
#define STAYS 0     /* holders who never release */
#endif
#ifndef LOOK
#define LOOK 0      /* 1: looks find what events do not tell */
#endif
#ifndef TRIES
#define TRIES 0     /* acquisitions that do not wait */
#endif

#define bit(n) (1 << (n))
#define NOBODY 255
#ifndef HEAVY
#define HEAVY 2     /* the client who asks for two permits; the others ask for one */
#endif
#define weight(c) ((c) == HEAVY -> 2 : 1)

byte rev = 1;
byte created[CLIENTS];    /* create revisions, 0: not there */
bool marked[CLIENTS];     /* it was put again: its owner owns */
bool valid[CLIENTS] = true;
byte holding = 0;         /* weights of those who hold and are before their deadline */
bool holds[CLIENTS];
bool marking[CLIENTS];    /* a mark is under way */
byte markOf[CLIENTS];     /* and the create revision that guards it */
byte done = 0;

/* Watches: what is watched, and whether an event was sent. */
byte watched[CLIENTS] = NOBODY;  /* one entry, or CLIENTS: deletions of all */
byte event[CLIENTS];      /* revision of the first event not delivered */

byte cancels = CANCELS, expiries = EXPIRIES, lostMarks = LOSTMARKS, tries = TRIES, stays = STAYS;
byte i;

/* notify: an event of an entry at this revision, for those who watch. */
inline notify(nKey, nPut) {
	i = 0;
	do
	:: i < CLIENTS ->
		if
#ifdef PUTS_FILTERED
		:: event[i] == 0 && !nPut && (watched[i] == nKey || watched[i] == CLIENTS) -> event[i] = rev
#elif defined(HEAD_WATCHES_ONE)
		:: event[i] == 0 && (watched[i] == nKey) -> event[i] = rev
#else
		:: event[i] == 0 && (watched[i] == nKey || watched[i] == CLIENTS && !nPut) -> event[i] = rev
#endif
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline remove(rKey) {
	d_step { rev++; created[rKey] = 0; marked[rKey] = false; notify(rKey, false) }
}

/* before: what the entry of c waits for: pred is an entry, CLIENTS (all), or NOBODY. */
inline before() {
	d_step {
		i = 0; sum = 0; pred = NOBODY; newest = 0;
		do
		:: i < CLIENTS && created[i] != 0 && created[i] < created[c] ->
			sum = sum + weight(i);
			if
			:: created[i] > newest -> newest = created[i]; pred = i
			:: else
			fi;
			i++
		:: i < CLIENTS && !(created[i] != 0 && created[i] < created[c]) -> i++
		:: else -> break
		od;
		i = 0; seen = rev; predCreated = newest; newest = 0;
#ifdef OWN_WEIGHT_FORGOTTEN
		if
		:: sum < PERMITS -> pred = NOBODY
		:: sum == PERMITS -> pred = CLIENTS
		:: else
		fi;
#else
		if
		:: sum > PERMITS
		:: sum <= PERMITS && sum + weight(c) > PERMITS -> pred = CLIENTS
		:: sum + weight(c) <= PERMITS -> pred = NOBODY
		fi;
#endif
		sum = 0
	}
}

proctype Client(byte c) {
	byte mine, pred, predCreated, seen, sum, newest, round;
	bool waited;

idle:
	atomic {
		mine = 0; pred = 0; predCreated = 0; seen = 0; waited = false; watched[c] = NOBODY; event[c] = 0;
		if
		:: round == ROUNDS || !valid[c] -> goto finished
		:: else
		fi
	}
	if
	:: atomic { valid[c] -> rev++; created[c] = rev; mine = rev; notify(c, true); before() }
		if
		:: pred == NOBODY -> goto grant
		:: else -> goto watch
		fi
	:: atomic { valid[c] && tries > 0 -> tries--;
		d_step {
			i = 0;
			do
			:: i < CLIENTS && created[i] != 0 -> sum = sum + weight(i); i++
			:: i < CLIENTS && created[i] == 0 -> i++
			:: else -> break
			od;
			i = 0; seen = rev
		}
		if
		:: sum + weight(c) > PERMITS -> sum = 0; round++; goto idle /* taken */
		:: else -> sum = 0
		fi }
		atomic { /* put; others may have come since the read: removed again then */
			if
			:: !valid[c] -> goto idle
			:: valid[c] -> rev++; created[c] = rev; mine = rev; notify(c, true); before();
				if
#ifdef TRY_UNGUARDED
				:: true -> goto grant
#else
				:: pred == NOBODY -> goto grant
				:: else -> remove(c); tries++; goto idle
#endif
				fi
			fi
		}
	:: !valid[c] -> goto idle
	fi;

watch:
	atomic {
		waited = true; watched[c] = pred; event[c] = 0;
#ifndef NO_CREATED_READ
		if
		:: rev > seen -> /* what happened before the watch began, it does not tell */
			if
			:: pred == CLIENTS -> newest = predCreated; sum = pred; before();
				if
				:: pred != CLIENTS -> goto check
				:: else
				fi
			:: pred != CLIENTS && (created[pred] != predCreated || marked[pred]) -> goto check
			:: else
			fi
		:: else
		fi
#endif
	}
	if
	:: atomic { valid[c] && event[c] > seen -> goto check }
	:: atomic { valid[c] && event[c] != 0 && event[c] <= seen -> goto watch }
#if LOOK
	:: atomic { valid[c] && pred != CLIENTS && (created[pred] != predCreated || marked[pred] || holds[pred]) -> goto check }
#endif
	:: atomic { valid[c] && cancels > 0 -> cancels--; round++; remove(c); goto idle }
	:: !valid[c] -> goto idle
	fi;

check:
	atomic {
		watched[c] = NOBODY; event[c] = 0;
		if
		:: !valid[c] -> goto idle
		:: valid[c] -> before();
			if
			:: pred == NOBODY -> goto grant
			:: else -> goto watch
			fi
		fi
	}

grant:
	atomic {
		if
		:: !valid[c] -> goto idle
		:: valid[c] ->
			holding = holding + weight(c); holds[c] = true;
			assert(holding <= PERMITS); /* never more than there are */
#ifndef NO_MARK
			if
			:: waited -> marking[c] = true; markOf[c] = mine
			:: else
			fi;
#endif
			pred = 0; predCreated = 0; seen = 0; waited = false
		fi
	}
	if
	:: atomic { valid[c] -> holds[c] = false; holding = holding - weight(c); remove(c) }
	:: !valid[c]
	:: atomic { valid[c] && stays > 0 -> stays--; goto end_stayed }
	fi;
	atomic { round++; goto idle }

finished:
	atomic { done++; goto over }
end_stayed:
	(false);
over:	skip
}

/* Entry: what happens to the entry of c without its client. */
proctype Entry(byte c) {
end:
	do
	:: atomic { marking[c] -> marking[c] = false;
		if
		:: created[c] == markOf[c] -> d_step { rev++; marked[c] = true; notify(c, true) }
		:: created[c] != markOf[c]
		:: lostMarks > 0 -> lostMarks--
		fi;
		markOf[c] = 0 }
	:: atomic { expiries > 0 && valid[c] -> expiries--; valid[c] = false;
		if
		:: holds[c] -> holds[c] = false; holding = holding - weight(c)
		:: else
		fi }
	:: atomic { !valid[c] && created[c] != 0 -> remove(c) }
	od
}

/* Progress: when nothing can happen any more, nobody waits who could own. */
active proctype Rest() {
	byte c, sum, n;
end:
	atomic { timeout ->
		assert(stays < STAYS || done == CLIENTS);
		do
		:: c < CLIENTS ->
			n = 0; sum = 0;
			do
			:: n < CLIENTS && created[n] != 0 && created[n] < created[c] -> sum = sum + weight(n); n++
			:: n < CLIENTS && !(created[n] != 0 && created[n] < created[c]) -> n++
			:: else -> break
			od;
			assert(created[c] == 0 || holds[c] || sum + weight(c) > PERMITS);
			c++
		:: else -> break
		od
	}
}

init {
	byte n;
	atomic {
		do
		:: n < CLIENTS -> run Client(n); run Entry(n); n++
		:: else -> break
		od
	}
}

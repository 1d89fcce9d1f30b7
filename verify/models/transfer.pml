/*
 * election.Term.Transfer: the leader reads who is ahead of a candidate, and one transaction
 * removes those and itself, if the candidate and the leader are still the same. Candidates
 * come and go under keys that are used again. How an entry waits is in mutex.pml: here it
 * leads once it is the oldest.
 */

#ifndef CANDIDATES
#define CANDIDATES 3
#endif
#ifndef CAMPAIGNS
#define CAMPAIGNS 2  /* of each candidate */
#endif
#ifndef LEAVES
#define LEAVES 1     /* campaigns given up while they wait */
#endif
#ifndef TRANSFERS
#define TRANSFERS 1
#endif
#ifndef LOST
#define LOST 1       /* transfers without an answer */
#endif
#ifndef EARLY
#define EARLY 0      /* leases that the server ends before the deadline */
#endif

#define bit(n) (1 << (n))

byte rev = 1;
byte created[CANDIDATES];
byte leads[CANDIDATES];   /* create revision of the term that it leads with, 0: none */
int owned = 0;            /* create revisions of entries that have been the oldest */
byte done = 0;
byte leaves = LEAVES, transfers = TRANSFERS, lost = LOST, early = EARLY;

/* The transfer: only one is under way. */
bool moving = false;      /* the transaction may arrive yet */
bool ours = false;        /* somebody prepares one */
byte from, own, to, token;
byte ahead[CANDIDATES];   /* create revisions of those to be removed */
bool passed;

byte i, j;

inline noteOwner() {
	i = 0; j = 0;
	do
	:: i < CANDIDATES && created[i] != 0 && (j == 0 || created[i] < j) -> j = created[i]; i++
	:: i < CANDIDATES && !(created[i] != 0 && (j == 0 || created[i] < j)) -> i++
	:: else -> break
	od;
	if
	:: j != 0 -> owned = owned | bit(j)
	:: else
	fi;
	i = 0; j = 0
}

inline oldest(oKey) {
	d_step {
		i = 0; j = 0; oKey = CANDIDATES;
		do
		:: i < CANDIDATES && created[i] != 0 && (j == 0 || created[i] < j) -> j = created[i]; oKey = i; i++
		:: i < CANDIDATES && !(created[i] != 0 && (j == 0 || created[i] < j)) -> i++
		:: else -> break
		od;
		i = 0; j = 0
	}
}

inline drop(dKey) {
	d_step { rev++; created[dKey] = 0; noteOwner() }
}

/* transact: the transaction is applied. */
inline transact() {
	d_step {
		passed = false;
		if
#ifdef TARGET_NOT_COMPARED
		:: created[from] == own ->
#elif defined(OWN_NOT_COMPARED)
		:: created[to] == token ->
#else
		:: created[from] == own && created[to] == token ->
#endif
			passed = true; rev++; i = 0;
			do
#ifdef REMOVED_BY_KEY
			:: i < CANDIDATES && ahead[i] != 0 && created[i] != 0 ->
#else
			:: i < CANDIDATES && ahead[i] != 0 && created[i] == ahead[i] ->
#endif
				assert(created[i] < token);  /* nobody behind the candidate loses his place */
				assert(leads[i] == 0);       /* S3: nobody in office is removed */
				assert(created[to] == token); /* nobody is removed for a candidate that has left */
				created[i] = 0; i++
#ifdef REMOVED_BY_KEY
			:: i < CANDIDATES && !(ahead[i] != 0 && created[i] != 0) -> i++
#else
			:: i < CANDIDATES && !(ahead[i] != 0 && created[i] == ahead[i]) -> i++
#endif
			:: i == CANDIDATES -> break
			od;
			if
			:: created[from] == own -> created[from] = 0
			:: else
			fi;
			noteOwner();
			assert(owned & bit(token))
		:: else ->
			if
			:: created[from] == own -> rev++; created[from] = 0; noteOwner()
			:: else
			fi
		fi
	}
}

proctype Candidate(byte c) {
	byte mine, campaign, who;
	bool failed;

out:
	atomic {
		mine = 0; who = 0;
		if
		:: campaign == CAMPAIGNS -> done++; goto finished
		:: else -> rev++; created[c] = rev; mine = rev; d_step { noteOwner() }
		fi
	}

waiting:
	atomic {
		if
		:: created[c] == mine ->
			oldest(who);
			if
			:: who == c -> goto elected
			:: else -> goto behind
			fi
		:: else -> goto out /* skipped by a transfer, or its lease has ended: it stands again */
		fi
	}
behind:
	if
	:: atomic { created[c] == mine && leaves > 0 -> leaves--; campaign++; drop(c); goto out }
	:: atomic { created[c] != mine -> goto out }
	:: atomic { (owned & bit(mine)) && created[c] == mine -> goto elected }
	fi;

elected:
	atomic {
		if
		:: created[c] != mine -> goto out
		:: else ->
			i = 0;
			do
			:: i < CANDIDATES -> assert(i == c || leads[i] == 0 || created[i] != leads[i]); i++
			:: else -> break
			od;
			i = 0; leads[c] = mine
		fi
	}
	if
	:: atomic { leads[c] = 0; campaign++;
		if
		:: created[c] == mine -> drop(c)
		:: else
		fi;
		goto out } /* Resign, or the end of the lease */
	:: atomic { transfers > 0 && !ours -> /* somebody who waits, as Candidates returned it */
		if
		:: created[0] != 0 && c != 0 -> who = 0
		:: created[1] != 0 && c != 1 -> who = 1
		:: created[2] != 0 && c != 2 -> who = 2
		:: else -> goto pass
		fi;
		transfers--; ours = true; from = c; own = mine; to = who; token = created[who]; who = 0 }
		atomic { /* the read of those who are ahead */
			oldest(who);
			if
			:: created[to] == token && who == c && created[c] == mine ->
				d_step {
					i = 0;
					do
					:: i < CANDIDATES -> ahead[i] = (i != c && created[i] < token -> created[i] : 0); i++
					:: else -> break
					od;
					i = 0
				}
			:: else -> ours = false; who = 0; goto pass /* ErrNotCandidate, or lost: the term goes on */
			fi;
			who = 0
		}
		atomic { leads[c] = 0; moving = true; failed = false } /* the term ends before the request is sent */
		atomic {
			if
			:: moving -> transact(); moving = false; failed = !passed
			:: lost > 0 -> lost--; failed = true /* no answer: it may arrive later, or never */
			fi
		}
		atomic { /* the removal, for certain */
			if
			:: failed && created[c] == mine -> drop(c)
			:: else
			fi
		}
		if
		:: !failed
		:: atomic { failed -> /* the candidate has left, or the answer was lost: see who leads */
			oldest(who);
			if
			:: who == CANDIDATES /* nobody yet: Transfer waits; here it gives up */
#ifdef JUDGED_BY_KEY
			:: who == to -> assert(owned & bit(token)) /* nil: it was elected */
			:: who != CANDIDATES && who != to
#else
			:: who == to && created[to] == token -> assert(owned & bit(token)) /* nil: it was elected */
			:: who != CANDIDATES && !(who == to && created[to] == token) /* ErrNotCandidate */
#endif
			fi }
		fi;
		atomic { ours = moving; campaign++; goto out }
pass:
		atomic { leads[c] = 0; campaign++;
			if
			:: created[c] == mine -> drop(c)
			:: else
			fi;
			goto out }
	fi;

finished: skip
}

/* Late: a transfer that was given up arrives. */
active proctype Late() {
end:
	do
	:: atomic { moving && leads[from] == 0 && lost == 0 ->
		if
		:: transact()
		:: true
		fi;
		moving = false }
	od
}

#if EARLY
proctype Server(byte c) {
end:
	atomic { early > 0 && created[c] != 0 -> early--; drop(c); leads[c] = 0 }
}
#endif

active proctype Rest() {
end:
	atomic { timeout -> assert(done == CANDIDATES) }
}

init {
	byte n;
	atomic {
		do
		:: n < CANDIDATES -> run Candidate(n);
#if EARLY
			run Server(n);
#endif
			n++
		:: else -> break
		od
	}
}

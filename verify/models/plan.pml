/*
 * How the planner of a group of shards writes its plan: pieces in the slot that the last plan
 * is not in, one transaction each, the last with the head, which names all pieces by their
 * revisions. A piece that has the text it is to have is not written; the last always is. Each transaction needs the planner's
 * term, the piece that it overwrites and the head as they were read, and the pieces before it as they were written, or read
 * if they were not. Terms end without the planner's knowing, requests arrive late or never, an operator deletes keys.
 *
 * Readers see the whole store at one revision, so that what they find is judged after each
 * change. A plan is known by its number, which the last piece has for a text. The first of two has one of two texts.
 */

#ifndef PLANS
#define PLANS 3      /* attempts to write one */
#endif
#ifndef TERMS
#define TERMS 2
#endif
#ifndef LATE
#define LATE 1       /* requests that get no answer; one at a time */
#endif
#ifndef OPERATOR
#define OPERATOR 0   /* keys that an operator deletes */
#endif

#define PIECES 2     /* at most, of a plan */
#define at(slot, n) ((slot) * PIECES + (n))

byte rev = 1, term = 1, plans = 0;
byte late = LATE, operator = OPERATOR;

#define FIRST 100    /* more than any plan's number */

byte pieceRev[4], pieceText[4]; /* by slot and number; revision 0: there is none */
byte headRev, headOf, headSlot, headCount, headTerm;
byte headFirst;                 /* the text that its first piece of two is to have */
byte named[PIECES];             /* revisions of the pieces */
byte newest;                    /* the latest term that has written a head */

/* A request: the first four are its conditions. */
typedef Request { byte term, piece, head, first, plan, slot, n, count, text }
Request waiting;                /* it got no answer and may arrive yet */
bool underWay = false;

byte i, whole, mixed;
bool applied;

/* look is what a reader finds. */
inline look() {
	whole = (headRev != 0); mixed = false; i = 0;
	do
	:: i < headCount ->
#ifdef NOT_NAMED
		whole = whole && pieceRev[at(headSlot, i)] != 0;
#else
		whole = whole && pieceRev[at(headSlot, i)] == named[i];
#endif
		mixed = mixed || pieceText[at(headSlot, i)] != (i == headCount - 1 -> headOf : headFirst);
		i++
	:: else -> break
	od;
	i = 0;
	assert(!whole || !mixed);              /* what is read is one plan */
#if !OPERATOR
	assert(headRev == 0 || whole);         /* there is always one to read, once there was */
#endif
	whole = 0; mixed = 0
}

/* transact applies a request if its conditions hold. */
inline transact(q) {
	d_step {
		applied = true;
#ifndef NO_TERM
		applied = applied && q.term == term;
#endif
#ifndef PIECE_NOT_COMPARED
		applied = applied && q.piece == pieceRev[at(q.slot, q.n)];
#endif
#ifndef EARLIER_NOT_COMPARED
		applied = applied && (q.n == 0 || q.first == pieceRev[at(q.slot, 0)]);
#endif
#ifndef HEAD_NOT_COMPARED
		applied = applied && q.head == headRev;
#endif
		if
		:: applied ->
			rev++;
			pieceRev[at(q.slot, q.n)] = rev; pieceText[at(q.slot, q.n)] = (q.n == q.count - 1 -> q.plan : q.text);
			if
			:: q.n == q.count - 1 ->
				assert(q.term >= newest);     /* no plan of a term after that of a later one */
				newest = q.term;
				headRev = rev; headOf = q.plan; headFirst = q.text; headSlot = q.slot; headCount = q.count; headTerm = q.term;
				named[0] = (q.count == 1 -> rev : q.first); named[1] = (q.count == 1 -> 0 : rev)
			:: else
			fi;
			look()
		:: else
		fi
	}
}

inline keep(q) {
	waiting.term = q.term; waiting.piece = q.piece; waiting.head = q.head; waiting.plan = q.plan;
	waiting.slot = q.slot; waiting.n = q.n; waiting.count = q.count; waiting.first = q.first; waiting.text = q.text
}

proctype Planner(byte p) {
	Request q;
	byte were[PIECES];
	bool readable;

end:
	do
	:: atomic { term % 2 == p && q.term != term -> q.term = term } /* elected; of the end it need not hear */
	:: atomic { q.term != 0 && plans < PLANS ->
		d_step {
			plans++; q.plan = plans; q.n = 0; q.first = 0; q.head = headRev;
			readable = headRev != 0 && pieceRev[at(headSlot, 0)] == named[0] &&
				(headCount == 1 || pieceRev[at(headSlot, 1)] == named[1]);
#ifdef SAME_SLOT
			q.slot = headSlot;
#else
			q.slot = (readable -> 1 - headSlot : 0);
#endif
			were[0] = pieceRev[at(q.slot, 0)]; were[1] = pieceRev[at(q.slot, 1)]
		}
		if
		:: q.count = 1; q.text = 0
		:: q.count = 2; q.text = FIRST
		:: q.count = 2; q.text = FIRST + 1
		fi;
		if
#ifdef KEPT_UNREAD
		:: q.count == 2 && were[0] != 0 -> q.first = were[0]; q.n = 1
#else
		:: q.count == 2 && were[0] != 0 && pieceText[at(q.slot, 0)] == q.text -> q.first = were[0]; q.n = 1
#endif
		:: else
		fi }
		do
		:: atomic { q.n < q.count -> q.piece = were[q.n];
			if
			:: transact(q);
				if
				:: applied -> q.first = (q.n == 0 -> rev : q.first); q.n++
				:: else -> break /* overtaken */
				fi
			:: late > 0 && !underWay -> late--; underWay = true; keep(q); break
			fi }
		:: atomic { q.n == q.count -> break }
		:: atomic { q.n < q.count && q.n > 0 -> break } /* it dies, or gives up */
		od
	od
}

active proctype Late() {
end:
	do
	:: atomic { underWay -> transact(waiting); underWay = false }
	od
}

active proctype Terms() {
end:
	do
	:: atomic { term < TERMS -> term++ }
	od
}

#if OPERATOR
active proctype Operator() {
	byte k;
end:
	do
	:: atomic { operator > 0 ->
		operator--;
		if
		:: headRev != 0 -> d_step { rev++; headRev = 0; headCount = 0; newest = 0; look() }
		:: pieceRev[0] != 0 -> d_step { rev++; pieceRev[0] = 0; look() }
		:: pieceRev[1] != 0 -> d_step { rev++; pieceRev[1] = 0; look() }
		:: pieceRev[2] != 0 -> d_step { rev++; pieceRev[2] = 0; look() }
		:: pieceRev[3] != 0 -> d_step { rev++; pieceRev[3] = 0; look() }
		:: true
		fi }
	od
}
#endif

init {
	atomic { run Planner(0); run Planner(1) }
}

package timeline

// legend explains something that is drawn.
type legend struct {
	Shape string // "bar", "thin", "tail", "line" or "mark"
	Class string
	Text  string
}

// legend returns what is on the drawing.
func (d *drawing) legend() []legend {
	var used []legend
	for _, l := range []legend{
		{"bar", "hold", "holds, with its token"},
		{"bar", "shared", "holds, shared with others"},
		{"bar", "late", "still believes in it after its deadline"},
		{"line", "deadline", "deadline"},
		{"tail", "tail", "lost: the rest, up to its deadline"},
		{"thin", "wait", "waits"},
		{"tail", "section", "in the critical section"},
		{"bar", "other", "something else"},
		{"bar", "band", "as long as a fault lasts"},
		{"bar", "overlap", "more than one holds"},
		{"mark", "fault", "a fault"},
		{"mark", "told", "it is told that it lost"},
		{"mark", "good", "refused, as it should be"},
		{"mark", "bad", "went wrong"},
		{"mark", "note", "event"},
	} {
		if d.used[l.Class] {
			used = append(used, l)
		}
	}
	return used
}

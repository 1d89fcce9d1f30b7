package capacity

// gain is how much more throughput a doubled load must bring to be worth it.
const gain = 1.1

// Step is a step of a stair.
type Step struct {
	// Load is the number of workers or sessions.
	Load int
	// Throughput is operations per second, P50 and P99 how long they take, in ms.
	Throughput, P50, P99 float64
	// Lost is how many sessions were lost.
	Lost int
}

// Knee returns the index of the first step after which no step has a tenth more
// throughput. It reports false if that is the last one, since more load may bring more.
func Knee(steps []Step) (int, bool) {
	for i, s := range steps {
		if !outdone(s, steps[i+1:]) {
			return i, i < len(steps)-1
		}
	}
	return 0, false
}

// outdone reports whether a later step is worth it.
func outdone(s Step, later []Step) bool {
	for _, l := range later {
		if l.Throughput >= gain*s.Throughput {
			return true
		}
	}
	return false
}

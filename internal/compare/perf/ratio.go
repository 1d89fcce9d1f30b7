package perf

import "math/rand/v2"

// Ratio says how many times better Conclave is than another side: the quotient of their
// figures, of which Conclave's is below the line where less is better and above it where
// more is. Low and High are the ends of its 90 % interval. It is zero where one of the
// figures is not above zero, so that a quotient would mean nothing.
//
// The figures are those of all samples. The interval comes from resampling (a bootstrap
// in two stages, Davison and Hinkley 1997, section 3.8): rounds are drawn with
// replacement, the same ones for both sides since they took turns in them, and in each
// round as many samples as it has, up to [mostDrawn]; the figures of what was drawn give a
// ratio, and [resamples] such ratios the interval. So it shows how much rounds differ,
// where there are many with a sample or two, and how much samples do, where there are few
// rounds of many. It does not show what another machine would.
type Ratio struct {
	Mid, Low, High float64
}

// resamples is how often is drawn, so that a twentieth of them is enough to tell.
const resamples = 400

// mostDrawn bounds how many samples of a round are drawn, so that rounds of thousands take
// no minutes. With fewer samples the interval is wider rather than narrower.
const mostDrawn = 500

// ratioOf compares two sides by their samples in each round.
func ratioOf(m Metric, s Stat, ours, theirs [][]float64) Ratio {
	quotient := func(ours, theirs [][]float64) float64 {
		a, b := s.of(pool(ours)), s.of(pool(theirs))
		switch {
		case a <= 0 || b <= 0:
			return 0
		case m.More:
			return a / b
		default:
			return b / a
		}
	}
	r := Ratio{Mid: quotient(ours, theirs)}
	if r.Mid == 0 {
		return Ratio{}
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same samples give the same interval
	drawn := make([]float64, 0, resamples)
	for range resamples {
		var x, y [][]float64
		for range ours {
			round := random.IntN(len(ours))
			x, y = append(x, draw(random, ours[round])), append(y, draw(random, theirs[round]))
		}
		if q := quotient(x, y); q > 0 {
			drawn = append(drawn, q)
		}
	}
	if len(drawn) == 0 {
		return Ratio{}
	}
	drawn = sortedCopy(drawn)
	r.Low, r.High = min(r.Mid, quantile(drawn, .05)), max(r.Mid, quantile(drawn, .95))
	return r
}

// draw draws samples with replacement.
func draw(random *rand.Rand, from []float64) []float64 {
	drawn := make([]float64, min(len(from), mostDrawn))
	for i := range drawn {
		drawn[i] = from[random.IntN(len(from))]
	}
	return drawn
}

// pool returns the samples of all rounds, sorted.
func pool(rounds [][]float64) []float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, r...)
	}
	return sortedCopy(all)
}

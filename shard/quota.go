package shard

import (
	"cmp"
	"slices"
)

// setQuotas says how many shards each seat is to have. The shares of those that are not
// fixed are rounded up where that keeps most shards where they are. Who has more pinned to
// it than its share has just these.
func setQuotas(shards int, seats []*seat) {
	for _, s := range seats {
		if s.fixed {
			s.quota = s.has
		}
	}
	for again := true; again; {
		again = false
		share(shards, seats)
		for _, s := range seats {
			if s.pinned > s.quota {
				s.fixed, s.quota, again = true, s.pinned, true
			}
		}
	}
}

// share divides what the fixed seats leave among the others.
func share(shards int, seats []*seat) {
	var open []*seat
	for _, s := range seats {
		if s.fixed {
			shards -= s.quota
		} else {
			open = append(open, s)
		}
	}
	total := weigh(open)
	zones := make(map[string]*zone)
	for _, s := range open {
		z := zones[s.Zone]
		if z == nil {
			z = &zone{name: s.Zone}
			zones[s.Zone] = z
		}
		z.add(s, shards, total)
	}
	roundUp(shards, total, zones)
}

// weigh returns the weight of all seats. Where none has any, all count the same.
func weigh(seats []*seat) (total int) {
	for _, s := range seats {
		total += s.Weight
	}
	if total > 0 {
		return total
	}
	for _, s := range seats {
		s.Weight = 1
	}
	return len(seats)
}

// zone is the seats whose shares are rounded together.
type zone struct {
	name   string
	weight int
	quota  int     // of its seats, each share rounded down
	up     []*seat // those whose share is not whole, who gains most by one more first
	extra  int     // of these, how many have their share rounded up
}

func (z *zone) add(s *seat, shards, total int) {
	z.weight += s.Weight
	quota, whole := portion(shards, s.Weight, total)
	s.quota = quota
	z.quota += quota
	if !whole {
		z.up = append(z.up, s)
	}
}

// portion is the share of a weight in a total, rounded down, and whether that is all of it. An
// int may have too few bits for the product.
func portion(shards, weight, total int) (quota int, whole bool) {
	product := int64(shards) * int64(weight)
	return int(product / int64(total)), product%int64(total) == 0
}

// gain ranks a seat by what one shard more would save: a pin, a move, nothing.
func (s *seat) gain() int {
	switch {
	case s.pinned > s.quota:
		return 2
	case s.has > s.quota:
		return 1
	default:
		return 0
	}
}

// roundUp rounds the shares of zones, and then in each of them those of its seats, up or
// down, until nothing is left.
func roundUp(shards, total int, zones map[string]*zone) {
	left := shards
	var open []*zone
	for _, z := range zones {
		slices.SortFunc(z.up, func(a, b *seat) int { return cmp.Or(cmp.Compare(b.gain(), a.gain()), byNameOrder(a, b)) })
		quota, whole := portion(shards, z.weight, total)
		z.extra = quota - z.quota
		left -= quota
		if !whole {
			open = append(open, z)
		}
	}
	slices.SortFunc(open, func(a, b *zone) int { return cmp.Or(cmp.Compare(b.gain(), a.gain()), cmp.Compare(a.name, b.name)) })
	for _, z := range open[:min(left, len(open))] {
		z.extra++
	}
	for _, z := range zones {
		for _, s := range z.up[:z.extra] {
			s.quota++
		}
	}
}

// gain ranks a zone by what one shard more would save: its next seat's.
func (z *zone) gain() int { return z.up[z.extra].gain() }

func byNameOrder(a, b *seat) int { return cmp.Compare(a.Name, b.Name) }

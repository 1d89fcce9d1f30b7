package shard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name of a member in bytes: a host name fits.
const MaxName = 253

// keys knows the keys of a group:
//
//	<group>/shards               how many shards there are, put once
//	<group>/member/<name>        a member, under its lease
//	<group>/heir/<name>          a process that waits to be the member, under its lease
//	<group>/plan/head            the plan: which pieces it is made of
//	<group>/plan/<slot>/<n>      a piece; the slots take turns
//	<group>/wish/freeze          operators' wishes
//	<group>/wish/cordon/<name>
//	<group>/wish/pin/<id>
//	<group>/shard/<id>/~mutex/…  the queue of a shard's lock
//	<group>/~election/…          the election of the planner
//
// Keys of a group whose name lies below another's are of none of these forms.
type keys struct{ group string }

func (k keys) all() string                 { return k.group + "/" }
func (k keys) shards() string              { return k.all() + "shards" }
func (k keys) member(name string) string   { return k.all() + "member/" + name }
func (k keys) heir(name string) string     { return k.all() + "heir/" + name }
func (k keys) plan() string                { return k.all() + "plan/" }
func (k keys) head() string                { return k.plan() + "head" }
func (k keys) piece(slot, n int) string    { return fmt.Sprintf("%s%d/%d", k.plan(), slot, n) }
func (k keys) freeze() string              { return k.all() + "wish/freeze" }
func (k keys) cordon(member string) string { return k.all() + "wish/cordon/" + member }
func (k keys) pin(id ID) string            { return fmt.Sprintf("%swish/pin/%d", k.all(), id) }
func (k keys) locks() string               { return k.all() + "shard/" }
func (k keys) lock(id ID) string           { return fmt.Sprintf("%s%d", k.locks(), id) }
func (k keys) queue(id ID) string          { return k.lock(id) + "/~mutex/" }

// kind says what a key of a group is.
type kind int

const (
	kindOther kind = iota
	kindShards
	kindMember
	kindHeir
	kindHead
	kindPiece
	kindFreeze
	kindCordon
	kindPin
	kindLock
)

// parse returns what a key is, and the name or the number that it is about.
func (k keys) parse(key string) (what kind, name string, id ID) {
	rest, ok := strings.CutPrefix(key, k.all())
	if !ok {
		return kindOther, "", 0
	}
	first, arg, _ := strings.Cut(rest, "/")
	switch first {
	case "shards":
		return only(kindShards, arg)
	case "member":
		return named(kindMember, arg)
	case "heir":
		return named(kindHeir, arg)
	case "plan":
		return planKey(arg)
	case "wish":
		return wishKey(arg)
	case "shard":
		number, entry, _ := strings.Cut(arg, "/")
		if strings.HasPrefix(entry, "~mutex/") {
			return numbered(kindLock, number)
		}
	}
	return kindOther, "", 0
}

func planKey(rest string) (what kind, name string, id ID) {
	slot, n, _ := strings.Cut(rest, "/")
	switch slot {
	case "head":
		return only(kindHead, n)
	case "0", "1":
		return numbered(kindPiece, n)
	default:
		return kindOther, "", 0
	}
}

func wishKey(rest string) (what kind, name string, id ID) {
	wish, arg, _ := strings.Cut(rest, "/")
	switch wish {
	case "freeze":
		return only(kindFreeze, arg)
	case "cordon":
		return named(kindCordon, arg)
	case "pin":
		return numbered(kindPin, arg)
	default:
		return kindOther, "", 0
	}
}

// only is parse for a key of which there is one, without anything behind.
func only(what kind, rest string) (kind, string, ID) {
	if rest != "" {
		return kindOther, "", 0
	}
	return what, "", 0
}

// named is parse for a key that is about a member.
func named(what kind, name string) (kind, string, ID) {
	if name == "" || strings.Contains(name, "/") {
		return kindOther, "", 0
	}
	return what, name, 0
}

// numbered is parse for a key that is about a shard, or a piece.
func numbered(what kind, number string) (kind, string, ID) {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n >= MaxShards {
		return kindOther, "", 0
	}
	return what, "", ID(n)
}

// checkMember refuses names that cannot be a segment of a key.
func checkMember(name string) error {
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Errorf("shard: member name of %d bytes: must be from 1 to %d", len(name), MaxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(name, "/"):
		return fmt.Errorf("shard: member name %q: must be valid UTF-8 without control characters and slashes", name)
	}
	return nil
}

// checkShards refuses numbers of shards beyond the limits.
func checkShards(n int) error {
	if n < 1 || n > MaxShards {
		return fmt.Errorf("shard: %d shards: must be from 1 to %d", n, MaxShards)
	}
	return nil
}

// shardsIn reads a number of shards.
func shardsIn(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || checkShards(n) != nil {
		return 0, fmt.Errorf("shard: number of shards %q: must be from 1 to %d", text, MaxShards)
	}
	return n, nil
}

var errNilContext = errors.New("shard: ctx is nil: must be a context")

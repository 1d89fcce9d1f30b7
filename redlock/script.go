package redlock

import (
	"context"
	"crypto/sha1" // what EVALSHA names scripts by
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

// script is a Lua script and the name under which servers keep it.
type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source))
	return script{source, hex.EncodeToString(sum[:])}
}

// Each script takes the lock's key and, where it has a second, the tombstone of the
// token; and the token first among its arguments. Both keys have one hash tag, so that
// a node may also be a cluster.
//
//nolint:gochecknoglobals // constants, but for the hash
var (
	// acquireScript sets the key for ARGV[2] milliseconds. Repeated, it recognises
	// its own key. It returns 1, or {time left in milliseconds, token} of the key
	// that is there, or 0 if the token was given up, or -1-uptime if the server has
	// not been up for ARGV[3] milliseconds for certain: of the reported seconds up
	// to one may be missing.
	acquireScript = newScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return {redis.call('PTTL', KEYS[1]), owner} end
if not owner and ARGV[3] ~= '0' then
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  if (up - 1) * 1000 < tonumber(ARGV[3]) then return -1 - up end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

	// extendScript lets the key live for another ARGV[2] milliseconds. It returns 1,
	// 0 if there is no key, and -1 if it is another's.
	extendScript = newScript(`
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return owner and -1 or 0`)

	// releaseScript deletes the key, tells waiters on the channel ARGV[2], and returns
	// 1; or 0 if the key is not the token's. With ARGV[3] it leaves a tombstone for so
	// many milliseconds. That comes last and may fail, as on a server out of memory,
	// and so may PUBLISH, for lack of permission: the key must go. It then returns why
	// instead of 1.
	releaseScript = newScript(`
local done = 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  local heard = redis.pcall('PUBLISH', ARGV[2], ARGV[1])
  done = type(heard) == 'table' and heard.err or 1
end
if ARGV[3] ~= '0' then redis.pcall('SET', KEYS[2], '1', 'PX', ARGV[3]) end
return done`)
)

// once is a command that go-redis does not repeat: a repetition must be known, because
// the first request may arrive after the second.
type once struct{ *redis.Cmd }

// NoRetry tells go-redis.
func (once) NoRetry() bool { return true }

// request is a command that runs a script. All nodes are sent the same, which is never
// changed: go-redis wants its parts as interfaces, each of which is an allocation.
type request []any

// request returns the command that runs the script with those keys: no more than it uses,
// since a server that another takes a slot over from refuses a request for several keys of
// it unless it still has all.
func (s script) request(keys []string, args [3]string) request {
	q := make(request, 0, 3+len(keys)+len(args))
	q = append(q, "evalsha", s.sha, len(keys))
	for _, key := range keys {
		q = append(q, key)
	}
	return append(q, args[0], args[1], args[2])
}

// inFull returns the request with the script instead of its hash.
func (q request) inFull(s script) request { return append(request{"eval", s.source}, q[2:]...) }

// run runs the script on client, by its hash unless the server does not know it.
func (s script) run(ctx context.Context, client redis.UniversalClient, q request) (any, error) {
	reply, err := q.send(ctx, client)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		return q.inFull(s).send(ctx, client)
	}
	return reply, err
}

func (q request) send(ctx context.Context, client redis.UniversalClient) (any, error) {
	cmd := redis.NewCmd(ctx, q...)
	cmd.SetFirstKeyPos(3) // for clusters
	_ = client.Process(ctx, once{cmd})
	return cmd.Result()
}

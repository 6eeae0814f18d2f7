package eventlog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// This file holds what the partitions of a store in a Redis share: how many
// calls something outside may have from all of them together, how fast these
// may begin, and whether it is left alone because it fails.
//
// Whoever wants to call takes a permit first, keeps it while the call runs and
// gives it back. One that isn't kept runs out, so that the dead hold nothing for
// ever; its holder knows by its own clock when that will be, counted from before
// it asked, and has to have ended the call by then. Who has asked first is
// served first. The clock of it all is that of Redis.
//
// With Q for "gleitzeit:{NAME}:permits:" and the key of what is limited:
//
//	Q held:KEY     sorted set  "ID MODEL" of each permit → when it runs out, in µs
//	Q line:KEY     sorted set  "WHO MODEL" of those who wait → since when
//	Q asked:KEY    hash        of the same → "µs SLOTS", when last, and the slots of the model
//	Q state:KEY    hash        calls, tokens: when the buckets will be full; and the breaker
//	Q epochs       hash        WHO → the highest epoch that has asked
//	Q freed:WHO    channel     tells whoever is next in a line: KEY
//
// WHO is a partition. An owner that another one has followed gets no permit any
// more, once that other one has asked for one.

// PermitTime is how long a permit lasts that isn't kept.
const PermitTime = 10 * time.Second

// permitPatience is how long somebody has a place in the line who doesn't ask
// again.
const permitPatience = 3 * time.Second

// ErrPermitGone says that a permit has run out, or that there is none for a
// writer that another one has followed.
var ErrPermitGone = errors.New("the permit is gone")

// Permits gives out permits.
type Permits struct {
	client redis.UniversalClient
	prefix string
	who    string
	epoch  int64
	lasts  time.Duration
	line   time.Duration // how long a place in the line is kept
}

// Permits returns what the log shares with the other logs of its store; nil if
// there is nothing that could be shared.
func (l *Log) Permits() *Permits {
	s, is := l.store.(*redisStore)
	if !is {
		return nil
	}
	at := strings.LastIndex(s.prefix, ".p")
	store, who := s.prefix[:at], strings.TrimSuffix(s.prefix[at+1:], "}:")
	epoch, _, _ := strings.Cut(s.owner, " ")
	n, _ := strconv.ParseInt(epoch, 10, 64)
	return &Permits{client: s.client, prefix: store + "}:permits:", who: who, epoch: n, lasts: PermitTime, line: permitPatience}
}

// PermitRate is a token bucket, as replay.Rate: one in each Interval, and Ahead
// of its time may be what begins.
type PermitRate struct{ Interval, Ahead time.Duration }

// PermitBreaker says when what fails is left alone.
type PermitBreaker struct {
	Failures, Successes int
	Open                time.Duration
}

// PermitWish is a permit that is wanted.
type PermitWish struct {
	Key        string // of what is limited
	Slots      int    // permits at once
	Model      string // that the permit is counted under; "" for none
	ModelSlots int    // permits at once of that; 0: no bound
	Calls      *PermitRate
	Tokens     *PermitRate
	Breaker    *PermitBreaker
}

// Permit is one that was given.
type Permit struct {
	PermitWish
	id    string
	Until time.Time // when it runs out unless it is kept; not before that
}

// PermitBreakerState is how the breaker stands.
type PermitBreakerState struct {
	State     string // "", open or half_open
	Opened    int64  // how often it has been
	Failures  int
	Successes int
	Since     time.Time       // when it opened, by our clock
	Until     time.Time       // until when nothing is called
	Error     json.RawMessage // why, as Give was told
}

// PermitAnswer is what came of a wish.
type PermitAnswer struct {
	Permit *Permit // nil: denied
	// Why it was denied: slots, model, rate, tokens or breaker.
	Why string
	// After is when it makes sense to ask again; 0: when something becomes free.
	After   time.Duration
	Breaker PermitBreakerState
}

// takeScript gives a permit or says why not. A permit that its asker has got
// already, but never heard of, is given again.
var takeScript = redis.NewScript(`
local held, line, asked, state, epochs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local who, epoch, id, model = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local slots, modelSlots, lasts, patience = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local callEach, callAhead, tokenEach, tokenAhead = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
if epoch < tonumber(redis.call('HGET', epochs, who) or '0') then return {'fenced'} end
redis.call('HSET', epochs, who, ARGV[2])

local s = {}
local flat = redis.call('HGETALL', state)
for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
local function say(what, after)
	return {what, text(after), s.breaker or '', s.opened or '0', s.failures or '0', s.successes or '0',
		text((s.since or now) - now), text((s['until'] or now) - now), s.error or ''}
end

redis.call('ZREMRANGEBYSCORE', held, '-inf', text(now))
local mine = id .. ' ' .. model
if redis.call('ZSCORE', held, mine) then
	redis.call('ZADD', held, text(now + lasts), mine)
	return say('given', 0)
end

local me = who .. ' ' .. model
redis.call('ZADD', line, 'NX', text(now), me)
redis.call('HSET', asked, me, text(now) .. ' ' .. modelSlots)
for _, key in ipairs({held, line, asked, state}) do redis.call('PEXPIRE', key, 7 * 86400000) end

if s.breaker == 'open' and tonumber(s['until']) > now then return say('breaker', s['until'] - now) end
local trial = s.breaker == 'open' or s.breaker == 'half_open'
if trial and s.probe and redis.call('ZSCORE', held, s.probe) then return say('breaker', 0) end

local free, of = slots, {}
for _, one in ipairs(redis.call('ZRANGE', held, 0, -1)) do
	local m = string.match(one, '^[^ ]* (.*)$')
	free, of[m] = free - 1, (of[m] or 0) + 1
end
local function fits(m, most) return free > 0 and (most == 0 or (of[m] or 0) < most) end
local before = 0
for _, one in ipairs(redis.call('ZRANGE', line, 0, -1)) do
	if one == me then break end
	local last, most = string.match(redis.call('HGET', asked, one) or '0 0', '^(%d+) (%d+)$')
	local m = string.match(one, '^[^ ]* (.*)$')
	if tonumber(last) + patience < now then
		redis.call('ZREM', line, one)
		redis.call('HDEL', asked, one)
	elseif fits(m, tonumber(most)) then
		free, of[m], before = free - 1, (of[m] or 0) + 1, before + 1
	end
end
if trial and before > 0 then return say('breaker', 0) end
if free < 1 then return say('slots', 0) end
if not fits(model, modelSlots) then return say('model', 0) end
local calls = math.max(tonumber(s.calls or '0'), now)
if callEach > 0 and calls + before * callEach - callAhead > now then
	return say('rate', calls + before * callEach - callAhead - now)
end
if tokenEach > 0 and tonumber(s.tokens or '0') - tokenAhead > now then return say('tokens', s.tokens - tokenAhead - now) end

redis.call('ZADD', held, text(now + lasts), mine)
redis.call('ZREM', line, me)
redis.call('HDEL', asked, me)
if callEach > 0 then redis.call('HSET', state, 'calls', text(calls + callEach)) end
if trial then
	if s.breaker == 'open' then s.breaker, s.successes = 'half_open', '0' end
	redis.call('HSET', state, 'breaker', s.breaker, 'successes', s.successes, 'probe', mine)
end
return say('given', 0)
`)

// keepScript lets a permit last longer.
var keepScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
return 1
`)

// giveScript takes a permit back, with how the call went: ok, failed or
// nothing. Who is next in the line is told.
var giveScript = redis.NewScript(`
local held, line, state = KEYS[1], KEYS[2], KEYS[3]
local mine, went, tokens, tokenEach = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, open, needed, why = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
local s = {}
local flat = redis.call('HGETALL', state)
for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
local function set(name, value)
	s[name] = value
	redis.call('HSET', state, name, value)
end
local function opens()
	set('breaker', 'open')
	set('opened', text((s.opened or 0) + 1))
	set('failures', '0')
	set('successes', '0')
	set('since', text(now))
	set('until', text(now + open))
	set('error', why)
end
if redis.call('ZREM', held, mine) == 1 then
	if tokenEach > 0 and tokens > 0 then
		set('tokens', text(math.max(tonumber(s.tokens or '0'), now) + tokens * tokenEach))
	end
	local at, trial = s.breaker or '', s.probe == mine
	if most > 0 and at == '' and went == 'failed' then
		set('failures', text((s.failures or 0) + 1))
		if tonumber(s.failures) >= most then opens() end
	elseif at == '' and went == 'ok' and (s.failures or '0') ~= '0' then
		set('failures', '0')
	elseif at == 'half_open' and trial and went == 'failed' then
		opens()
	elseif at == 'half_open' and trial and went == 'ok' then
		set('successes', text((s.successes or 0) + 1))
		if tonumber(s.successes) >= needed then
			set('breaker', '')
			set('failures', '0')
		end
	end
	redis.call('PEXPIRE', state, 7 * 86400000)
	for _, one in ipairs(redis.call('ZRANGE', line, 0, 1)) do
		redis.call('PUBLISH', ARGV[9] .. string.match(one, '^[^ ]*'), ARGV[10])
	end
end
return {'', '0', s.breaker or '', s.opened or '0', s.failures or '0', s.successes or '0',
	text((s.since or now) - now), text((s['until'] or now) - now), s.error or ''}
`)

// leaveScript gives up a place in the line.
var leaveScript = redis.NewScript(`
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
for _, one in ipairs(redis.call('ZRANGE', KEYS[1], 0, 1)) do
	redis.call('PUBLISH', ARGV[2] .. string.match(one, '^[^ ]*'), ARGV[3])
end
return 1
`)

func (p *Permits) keys(key string, names ...string) (keys []string) {
	for _, name := range names {
		keys = append(keys, p.prefix+name+":"+key)
	}
	return keys
}

// micros is a time as the scripts count it.
func micros(d time.Duration) int64 { return d.Microseconds() }

func (r *PermitRate) words() (each, ahead int64) {
	if r == nil {
		return 0, 0
	}
	return max(micros(r.Interval), 1), micros(r.Ahead)
}

// Take asks for a permit. Who is denied one has a place in the line and should
// ask again after a while, or Leave.
func (p *Permits) Take(ctx context.Context, w PermitWish) (PermitAnswer, error) {
	began, id := time.Now(), rand.Text()
	callEach, callAhead := w.Calls.words()
	tokenEach, tokenAhead := w.Tokens.words()
	keys := append(p.keys(w.Key, "held", "line", "asked", "state"), p.prefix+"epochs")
	said, err := takeScript.Run(ctx, p.client, keys, p.who, p.epoch, id, w.Model, w.Slots, w.ModelSlots, micros(p.lasts), micros(p.line),
		callEach, callAhead, tokenEach, tokenAhead).StringSlice()
	switch {
	case err != nil:
		return PermitAnswer{}, err
	case said[0] == "fenced":
		return PermitAnswer{}, ErrPermitGone
	}
	a, err := permitAnswer(said)
	if err == nil && said[0] == "given" {
		a.Permit, a.Why = &Permit{PermitWish: w, id: id + " " + w.Model, Until: began.Add(p.lasts)}, ""
	}
	return a, err
}

// permitAnswer reads what all scripts end with.
func permitAnswer(said []string) (a PermitAnswer, err error) {
	if len(said) != 9 {
		return a, fmt.Errorf("the Redis said %q", said)
	}
	var n [7]int64
	for i := range n {
		if i == 1 {
			continue // the breaker's state
		}
		if n[i], err = strconv.ParseInt(said[1+i], 10, 64); err != nil {
			return a, fmt.Errorf("the Redis said %q", said)
		}
	}
	now := time.Now()
	a.Why, a.After = said[0], time.Duration(n[0])*time.Microsecond
	a.Breaker = PermitBreakerState{State: said[2], Opened: n[2], Failures: int(n[3]), Successes: int(n[4]),
		Since: now.Add(time.Duration(n[5]) * time.Microsecond), Until: now.Add(time.Duration(n[6]) * time.Microsecond)}
	if said[8] != "" {
		a.Breaker.Error = json.RawMessage(said[8])
	}
	return a, nil
}

// Keep lets a permit last longer, until the returned moment; ErrPermitGone if it has
// run out.
func (p *Permits) Keep(ctx context.Context, one *Permit) (until time.Time, err error) {
	began := time.Now()
	ours, err := keepScript.Run(ctx, p.client, p.keys(one.Key, "held"), one.id, micros(p.lasts)).Int()
	switch {
	case err != nil:
		return time.Time{}, err
	case ours == 0:
		return time.Time{}, ErrPermitGone
	}
	return began.Add(p.lasts), nil
}

// PermitOutcome is how a call went.
type PermitOutcome struct {
	Called bool            // there was one, of which the breaker learns something
	Error  json.RawMessage // nil: it went well
	Tokens int64           // that it used
}

// Give gives a permit back, and returns how the breaker stands then. Twice is
// fine, and so is one that has run out: then nothing is counted.
func (p *Permits) Give(ctx context.Context, one *Permit, o PermitOutcome) (PermitBreakerState, error) {
	went, b := "nothing", PermitBreaker{}
	if o.Called {
		went = "ok"
		if o.Error != nil {
			went = "failed"
		}
	}
	if one.Breaker != nil {
		b = *one.Breaker
	}
	tokenEach, _ := one.Tokens.words()
	said, err := giveScript.Run(ctx, p.client, p.keys(one.Key, "held", "line", "state"), one.id, went, o.Tokens, tokenEach,
		b.Failures, micros(b.Open), b.Successes, string(o.Error), p.prefix+"freed:", one.Key).StringSlice()
	if err != nil {
		return PermitBreakerState{}, err
	}
	a, err := permitAnswer(said)
	return a.Breaker, err
}

// Leave gives up the place in the line.
func (p *Permits) Leave(ctx context.Context, w PermitWish) error {
	return leaveScript.Run(ctx, p.client, p.keys(w.Key, "line", "asked"), p.who+" "+w.Model, p.prefix+"freed:", w.Key).Err()
}

// Freed calls told with the key of each line in which it may be our turn, until
// ctx ends. What happens while Redis is away it doesn't hear of.
func (p *Permits) Freed(ctx context.Context, told func(key string)) {
	sub := p.client.Subscribe(ctx, p.prefix+"freed:"+p.who)
	defer sub.Close()
	all := sub.Channel()
	for {
		select {
		case m, open := <-all:
			if !open {
				return
			}
			told(m.Payload)
		case <-ctx.Done():
			return
		}
	}
}

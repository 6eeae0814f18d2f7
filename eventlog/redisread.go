package eventlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisReader reads one partition of a store in a Redis.
type redisReader struct {
	client redis.UniversalClient
	prefix string // of all keys of the partition
}

func (r redisReader) key(name string) string  { return r.prefix + name }
func (r redisReader) of(stream string) string { return r.prefix + "of:" + stream }

// absent tells whether there was no answer because there is nothing.
func absent(err error) bool { return errors.Is(err, redis.Nil) }

func (r redisReader) totals() (t totals, err error) {
	said, err := r.client.HMGet(always, r.key("totals"), "last", "records", "values", "bytes").Result()
	if err != nil {
		return t, err
	}
	var n [4]uint64
	for i, v := range said {
		text, ok := v.(string)
		if !ok && i == 0 {
			return t, nil
		}
		if n[i], err = strconv.ParseUint(text, 10, 64); err != nil {
			return t, errors.New("the totals are damaged")
		}
	}
	return totals{Seq(n[0]), n[1], n[2], n[3]}, nil
}

func (r redisReader) last() (Seq, error) {
	some, err := r.client.XRevRangeN(always, r.key("log"), "+", "-", 1).Result()
	if err != nil || len(some) == 0 {
		return 0, err
	}
	return parsePlace(some[0].ID)
}

// parsePlace reads a record's id in the log.
func parsePlace(id string) (Seq, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(id, "-0"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("entry %q of the log is damaged", id)
	}
	return Seq(n), nil
}

// redisPage is how many records one question asks for.
const redisPage = 64

func (r redisReader) records(from, to Seq, p *page) error {
	for !p.full() && from <= to {
		some, err := r.client.XRangeN(always, r.key("log"), entry(from), entry(to), redisPage).Result()
		if err != nil {
			return err
		}
		for _, m := range some {
			q, err := parsePlace(m.ID)
			if err != nil {
				return err
			}
			if p.full() {
				return nil
			}
			body, _ := m.Values["b"].(string)
			p.add(q, []byte(body))
			from = q + 1
		}
		if len(some) < redisPage {
			return nil
		}
	}
	return nil
}

// streamScript reads some records of one stream: ids and bodies in turn.
var streamScript = redis.NewScript(`
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
	local e = redis.call('XRANGE', KEYS[2], string.gsub(id, 'm$', '') .. '-0', string.gsub(id, 'm$', '') .. '-0')
	out[#out + 1] = id
	out[#out + 1] = e[1] and e[1][2][2] or false
end
return out
`)

func (r redisReader) stream(name string, from, to Seq, p *page) error {
	for !p.full() && from <= to {
		some, err := streamScript.Run(always, r.client, []string{r.of(name), r.key("log")},
			uint64(from), uint64(min(to, 1<<53)), redisPage).Slice()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(some) && !p.full(); i += 2 {
			id, _ := some[i].(string)
			text, mark := strings.CutSuffix(id, "m")
			q, err := parsePlace(text)
			if err != nil {
				return err
			}
			body, ok := some[i+1].(string)
			if !ok {
				return &recordError{q, errMissing}
			}
			p.add(q, []byte(body))
			p.rows[len(p.rows)-1].mark = mark
			from = q + 1
		}
		if len(some) < 2*redisPage {
			return nil
		}
	}
	return nil
}

func (r redisReader) head(name string, to Seq) (row, error) {
	ids, err := r.client.ZRevRangeByScore(always, r.of(name),
		&redis.ZRangeBy{Min: "-inf", Max: fmt.Sprint(min(to, 1<<53)), Count: 1}).Result()
	if err != nil || len(ids) == 0 {
		return row{}, err
	}
	q, err := parsePlace(strings.TrimSuffix(ids[0], "m"))
	if err != nil {
		return row{}, err
	}
	var p page
	if err := r.records(q, q, &p); err != nil {
		return row{}, err
	}
	if len(p.rows) == 0 {
		return row{}, &recordError{q, errMissing}
	}
	return p.rows[0], nil
}

func (r redisReader) streams(l listing) (out []string, err error) {
	set := r.key("live")
	if l.deleted {
		set = r.key("streams")
	}
	for len(out) < l.limit {
		names, err := r.names(set, l)
		if err != nil || len(names) == 0 {
			return out, err
		}
		l.after = names[len(names)-1]
		if names, err = r.listed(names, l); err != nil {
			return out, err
		}
		out = append(out, names[:min(len(names), l.limit-len(out))]...)
	}
	return out, nil
}

// names returns the next names of a set.
func (r redisReader) names(set string, l listing) ([]string, error) {
	low, high := "["+l.prefix, "+"
	if end := prefixEnd([]byte(l.prefix)); end != nil {
		high = "(" + string(end)
	}
	if l.reverse {
		if l.after != "" && (high == "+" || "("+l.after < high) {
			high = "(" + l.after
		}
		return r.client.ZRevRangeByLex(always, set, &redis.ZRangeBy{Min: low, Max: high, Count: int64(l.limit)}).Result()
	}
	if l.after != "" && l.after >= l.prefix {
		low = "(" + l.after
	}
	return r.client.ZRangeByLex(always, set, &redis.ZRangeBy{Min: low, Max: high, Count: int64(l.limit)}).Result()
}

// listed returns those of the names that have a wanted record early enough.
func (r redisReader) listed(names []string, l listing) (out []string, err error) {
	pipe := r.client.Pipeline()
	var firsts []*redis.StringSliceCmd
	for _, name := range names {
		firsts = append(firsts, pipe.ZRange(always, r.of(name), 0, 1))
	}
	if _, err := pipe.Exec(always); err != nil {
		return nil, err
	}
	for i, name := range names {
		for _, id := range firsts[i].Val() {
			text, mark := strings.CutSuffix(id, "m")
			if q, err := parsePlace(text); err == nil && q <= l.to && (l.deleted || !mark) {
				out = append(out, name)
				break
			}
		}
	}
	return out, nil
}

func (r redisReader) value(h Hash) ([]byte, error) {
	v, err := r.client.HGet(always, r.key("values"), string(h[:])).Bytes()
	if absent(err) {
		return nil, ErrNotFound
	}
	return v, err
}

func (r redisReader) hasValue(h Hash) (bool, error) {
	return r.client.HExists(always, r.key("values"), string(h[:])).Result()
}

// after returns the members of a set beyond one.
func (r redisReader) after(set, after string, limit int) ([]string, error) {
	low := "(" + after
	if after == "" {
		low = "-"
	}
	return r.client.ZRangeByLex(always, r.key(set), &redis.ZRangeBy{Min: low, Max: "+", Count: int64(limit)}).Result()
}

func (r redisReader) values(after Hash, limit int) (out []Hash, err error) {
	some, err := r.after("hashes", string(after[:]), limit)
	for _, member := range some {
		if len(member) != len(after) {
			return out, fmt.Errorf("hash %q is damaged", member)
		}
		out = append(out, Hash([]byte(member)))
	}
	return out, err
}

func (r redisReader) hasUse(u use) (bool, error) {
	err := r.client.ZScore(always, r.key("uses"), u.redis()).Err()
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}

func (r redisReader) users(h Hash, limit int) (out []string, err error) {
	high := "+"
	if end := prefixEnd(h[:]); end != nil {
		high = "(" + string(end)
	}
	some, err := r.client.ZRangeByLex(always, r.key("uses"), &redis.ZRangeBy{Min: "[" + string(h[:]), Max: high, Count: int64(limit)}).Result()
	for _, member := range some {
		out = append(out, member[len(h):])
	}
	return out, err
}

func (r redisReader) uses(after use, limit int) (out []use, err error) {
	some, err := r.after("uses", after.redis(), limit)
	for _, member := range some {
		if len(member) <= len(Hash{}) {
			return out, fmt.Errorf("use %q is damaged", member)
		}
		out = append(out, use{Hash([]byte(member[:len(Hash{})])), member[len(Hash{}):]})
	}
	return out, err
}

func (r redisReader) claim(key string) (claim, bool, error) {
	text, err := r.client.HGet(always, r.key("claims"), key).Result()
	if absent(err) {
		return claim{}, false, nil
	}
	if err != nil {
		return claim{}, false, err
	}
	at, stream, ok := strings.Cut(text, " ")
	q, err := strconv.ParseUint(at, 10, 64)
	if err != nil || !ok {
		return claim{}, false, fmt.Errorf("key %q is damaged", key)
	}
	return claim{key, stream, Seq(q)}, true, nil
}

func (r redisReader) claims(after string, limit int) (out []claim, err error) {
	keys, err := r.after("keys", after, limit)
	for _, key := range keys {
		c, ok, err := r.claim(key)
		if err != nil {
			return out, err
		}
		if !ok {
			return out, fmt.Errorf("key %q is damaged: nobody has it", key)
		}
		out = append(out, c)
	}
	return out, err
}

func (r redisReader) checkpoint(stream string) (Checkpoint, bool, error) {
	text, err := r.client.HGet(always, r.key("checkpoints"), stream).Result()
	if absent(err) {
		return Checkpoint{}, false, nil
	}
	if err != nil {
		return Checkpoint{}, false, err
	}
	at, data, ok := strings.Cut(text, " ")
	q, err := strconv.ParseUint(at, 10, 64)
	if err != nil || !ok {
		return Checkpoint{}, false, fmt.Errorf("the checkpoint of stream %q is damaged", stream)
	}
	return Checkpoint{stream, Seq(q), []byte(data)}, true, nil
}

func (r redisReader) checkpoints(prefix, after string, limit int) (out []Checkpoint, err error) {
	names, err := r.names(r.key("checked"), listing{prefix: prefix, after: after, limit: limit})
	for _, name := range names {
		c, ok, err := r.checkpoint(name)
		if err != nil {
			return out, err
		}
		if ok {
			out = append(out, c)
		}
	}
	return out, err
}

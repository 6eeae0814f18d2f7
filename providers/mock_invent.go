package providers

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// This file invents what the original's mock providers invented: search results
// and text processing without a network or a model. The same parameters give the
// same result, always.

// inventions are the methods that answer without a script.
var inventions = map[string]func(Call) (any, error){
	"web-search/search":                  inventSearch,
	"web-search/suggest":                 inventSuggestions,
	"web-search/trending":                inventTrends,
	"text-processing/summarize":          summarize,
	"text-processing/extract_keywords":   keywords,
	"text-processing/sentiment_analysis": sentiment,
	"text-processing/translate":          translate,
	"text-processing/extract_entities":   entities,
}

// invents tells whether a method answers without a script.
func invents(method string) bool { return inventions[method] != nil }

// invent answers such a method.
func invent(call Call) (json.RawMessage, error) {
	made, err := inventions[call.Method](call)
	if err != nil {
		return nil, err
	}
	return encode(made)
}

// dice are thrown alike for the same texts.
func dice(texts ...string) *rand.Rand {
	h := fnv.New64a()
	for _, text := range texts {
		_, _ = h.Write([]byte(text + "\x00")) // a hash never fails
	}
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// someTime is a moment of the year 2025, for no run must depend on today.
func someTime(r *rand.Rand) string {
	return time.Date(2025, 1, 1+r.IntN(365), 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}

// found is an invented search result.
type found struct {
	Title          string  `json:"title"`
	URL            string  `json:"url"`
	Snippet        string  `json:"snippet"`
	Domain         string  `json:"domain"`
	LastUpdated    string  `json:"last_updated"`
	RelevanceScore float64 `json:"relevance_score"`
}

// inventedSites are domains that nobody can own.
var inventedSites = []string{"encyclopedia.example", "news.example", "journal.example", "forum.example", "guide.example", "archive.example"}

var inventedTitles = []string{"%s: an introduction", "What is known about %s", "%s in practice", "A short history of %s", "Ten questions about %s", "%s compared"}

func inventSearch(call Call) (any, error) {
	p := struct {
		Query      string `json:"query"`
		MaxResults *int   `json:"max_results"`
		SafeSearch *bool  `json:"safe_search"`
	}{}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	if strings.TrimSpace(p.Query) == "" {
		return nil, needsText(call, "query")
	}
	r := dice(call.Method, p.Query)
	results, texts := []found{}, []string{}
	for i := range atMost(p.MaxResults, 10, 100) {
		title := fmt.Sprintf(inventedTitles[i%len(inventedTitles)], p.Query)
		site := inventedSites[r.IntN(len(inventedSites))]
		one := found{Title: title, Domain: site, LastUpdated: someTime(r),
			URL:            fmt.Sprintf("https://%s/%s/%d", site, url.PathEscape(strings.ToLower(strings.Join(strings.Fields(p.Query), "-"))), i+1),
			Snippet:        fmt.Sprintf("An invented result about %s, number %d.", p.Query, i+1),
			RelevanceScore: rounded(max(0.05, 0.98-0.01*float64(i)-0.005*r.Float64()))}
		results, texts = append(results, one), append(texts, one.Title+": "+one.Snippet)
	}
	return map[string]any{"query": p.Query, "results": results, "total_found": 1000 + r.IntN(999_000),
		"search_time_ms": 20 + r.IntN(180), "safe_search": p.SafeSearch == nil || *p.SafeSearch, "combined_text": strings.Join(texts, "\n")}, nil
}

func inventSuggestions(call Call) (any, error) {
	var p struct {
		Query string `json:"query"`
		Max   *int   `json:"max_suggestions"`
	}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	if strings.TrimSpace(p.Query) == "" {
		return nil, needsText(call, "query")
	}
	endings := []string{"tutorial", "examples", "explained", "history", "for beginners", "news", "alternatives", "guide", "compared", "definition"}
	dice(call.Method, p.Query).Shuffle(len(endings), func(i, j int) { endings[i], endings[j] = endings[j], endings[i] })
	suggestions := []string{}
	for i := range atMost(p.Max, 5, len(endings)) {
		suggestions = append(suggestions, p.Query+" "+endings[i])
	}
	return map[string]any{"query": p.Query, "suggestions": suggestions}, nil
}

func inventTrends(call Call) (any, error) {
	p := struct {
		Category string `json:"category"`
		Max      *int   `json:"max_topics"`
	}{Category: "all"}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	r := dice(call.Method, p.Category)
	topics := []map[string]any{}
	for i := range atMost(p.Max, 10, 100) {
		topics = append(topics, map[string]any{"topic": fmt.Sprintf("invented topic %d of %s", i+1, p.Category),
			"rank": i + 1, "searches": 1_000_000/(i+1) + r.IntN(1000)})
	}
	return map[string]any{"category": p.Category, "trending_topics": topics}, nil
}

// textOf reads the text that a method of text-processing/v1 is about.
func textOf(call Call) (string, error) {
	var p struct {
		Text string `json:"text"`
	}
	if err := readParameters(call, &p); err != nil {
		return "", err
	}
	if strings.TrimSpace(p.Text) == "" {
		return "", needsText(call, "text")
	}
	return p.Text, nil
}

func needsText(call Call, parameter string) error {
	return protocols.Errorf(protocols.TaskParameterError, "%s: %s must not be empty", call.Method, parameter)
}

// atMost is a number that was asked for, within its bounds.
func atMost(n *int, otherwise, most int) int {
	if n == nil {
		return min(otherwise, most)
	}
	return min(max(*n, 0), most)
}

func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

var sentence = regexp.MustCompile(`[^.!?]+[.!?]*`)

// summarize takes the first, the middle and the last sentence.
func summarize(call Call) (any, error) {
	var p struct {
		Max *int `json:"max_length"`
	}
	text, err := textOf(call)
	if err == nil {
		err = readParameters(call, &p)
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, one := range sentence.FindAllString(text, -1) {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	if len(all) > 3 {
		all = []string{all[0], all[len(all)/2], all[len(all)-1]}
	}
	summary := strings.Join(all, " ")
	if most := max(atMost(p.Max, 200, math.MaxInt32), 10); utf8.RuneCountInString(summary) > most {
		summary = strings.TrimSpace(string([]rune(summary)[:most-3])) + "..."
	}
	length := utf8.RuneCountInString(text)
	short := utf8.RuneCountInString(summary)
	return map[string]any{"summary": summary, "original_length": length, "summary_length": short,
		"compression_ratio": rounded(float64(short) / float64(length))}, nil
}

// wordsOf are the words of a text in small letters.
func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' })
}

// commonWords say nothing about what a text is about.
var commonWords = strings.Fields("the and for are was were has had have not but with this that from they them their its his her our your you " +
	"who what when where which how why all any can will would could should may might into than then there here out over about also been being")

func keywords(call Call) (any, error) {
	var p struct {
		Max *int `json:"max_keywords"`
	}
	text, err := textOf(call)
	if err == nil {
		err = readParameters(call, &p)
	}
	if err != nil {
		return nil, err
	}
	words, counts, total := wordsOf(text), map[string]int{}, 0
	for _, w := range words {
		if utf8.RuneCountInString(w) > 2 && !slices.Contains(commonWords, w) {
			counts[w]++
			total++
		}
	}
	order := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(order, func(a, b string) int { return counts[b] - counts[a] })
	list := []map[string]any{}
	for _, w := range order[:atMost(p.Max, 10, len(order))] {
		list = append(list, map[string]any{"keyword": w, "frequency": counts[w], "relevance_score": rounded(float64(counts[w]) / float64(total))})
	}
	return map[string]any{"keywords": list, "total_words_analyzed": len(words), "unique_keywords": len(counts)}, nil
}

var goodWords = strings.Fields("good great excellent wonderful amazing best love loved happy joy beautiful perfect fantastic success successful positive pleasant delight like better nice brilliant")

var badWords = strings.Fields("bad terrible awful horrible worst hate hated sad angry ugly poor failure failed negative wrong problem broken pain disappointing worse boring dreadful")

func sentiment(call Call) (any, error) {
	text, err := textOf(call)
	if err != nil {
		return nil, err
	}
	words := wordsOf(text)
	good, bad := 0, 0
	for _, w := range words {
		if slices.Contains(goodWords, w) {
			good++
		} else if slices.Contains(badWords, w) {
			bad++
		}
	}
	word, polarity, confidence := "neutral", 0.0, 0.5
	if telling := good + bad; telling > 0 {
		polarity = float64(good-bad) / float64(telling)
		confidence = min(1, 5*float64(telling)/float64(len(words)))
	}
	if polarity > 0.1 {
		word = "positive"
	} else if polarity < -0.1 {
		word = "negative"
	}
	return map[string]any{"sentiment": word, "polarity": rounded(polarity), "confidence": rounded(confidence),
		"positive_words_found": good, "negative_words_found": bad, "total_words": len(words)}, nil
}

// languages by their codes.
var languages = map[string]string{"de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "ja": "Japanese",
	"ko": "Korean", "pt": "Portuguese", "ru": "Russian", "zh": "Chinese"}

// translate says into which language it would be translated.
func translate(call Call) (any, error) {
	p := struct {
		Target string `json:"target_language"`
		Source string `json:"source_language"`
	}{"es", "auto"}
	text, err := textOf(call)
	if err == nil {
		err = readParameters(call, &p)
	}
	if err != nil {
		return nil, err
	}
	language := languages[p.Target]
	if language == "" {
		language = strings.ToUpper(p.Target)
	}
	translated := fmt.Sprintf("[%s translation]: %s", language, text)
	return map[string]any{"translated_text": translated, "source_language": p.Source, "target_language": p.Target,
		"confidence":      rounded(0.8 + 0.15*dice(call.Method, p.Target, text).Float64()),
		"original_length": utf8.RuneCountInString(text), "translated_length": utf8.RuneCountInString(translated)}, nil
}

var capitals = regexp.MustCompile(`\p{Lu}\p{Ll}+(?:\s+\p{Lu}\p{Ll}+)*`)

// entities takes for a name whatever begins with a capital letter.
func entities(call Call) (any, error) {
	p := struct {
		Types []string `json:"entity_types"`
	}{}
	text, err := textOf(call)
	if err == nil {
		err = readParameters(call, &p)
	}
	if err != nil {
		return nil, err
	}
	if len(p.Types) == 0 {
		p.Types = []string{"PERSON", "ORG", "LOCATION"}
	}
	list, seen, labels := []map[string]any{}, map[string]bool{}, map[string]bool{}
	for _, at := range capitals.FindAllStringIndex(text, -1) {
		name := text[at[0]:at[1]]
		if seen[name] {
			continue
		}
		seen[name] = true
		r := dice(call.Method, name)
		label := p.Types[r.IntN(len(p.Types))]
		labels[label] = true
		start := utf8.RuneCountInString(text[:at[0]])
		list = append(list, map[string]any{"text": name, "label": label, "start_pos": start,
			"end_pos": start + utf8.RuneCountInString(name), "confidence": rounded(0.6 + 0.3*r.Float64())})
	}
	types := slices.AppendSeq([]string{}, maps.Keys(labels))
	slices.Sort(types)
	return map[string]any{"entities": list, "entity_count": len(list), "entity_types_found": types}, nil
}

package replay

// This file says the log once more, in SQL, for people who open a store of
// SQLite with other programs. The views read the events themselves, so they
// are never behind; whether a process carries an unfinished run out just now
// they can't know.

// SQLViews returns SELECT statements by the name of their view.
func SQLViews() map[string]string {
	return map[string]string{"events": eventsView, "runs": runsView, "tasks": tasksView}
}

const (
	// sqlTime is a record's time as text.
	sqlTime = `strftime('%Y-%m-%dT%H:%M:%S', seconds, 'unixepoch') || printf('.%03dZ', nanos / 1000000)`
	// sqlRun is the number of the run that a record belongs to.
	sqlRun = `CAST(substr(stream, 5) AS INTEGER)`
	// sqlOfRuns chooses the records of runs.
	sqlOfRuns = `stream >= 'run/' AND stream < 'run0'`
)

// eventsView has all events in their order.
const eventsView = `
SELECT seq, ` + sqlTime + ` AS time, stream, CASE WHEN ` + sqlOfRuns + ` THEN ` + sqlRun + ` END AS run, type, data
FROM records ORDER BY seq`

// runsView has a row for each run. SQLite takes the columns beside a max() from
// the row that has it, so that the last event of its kind stands.
const runsView = `
WITH ends AS (
	SELECT stream, max(seq) AS seq, type, data, ` + sqlTime + ` AS time FROM records
	WHERE type IN ('workflow.submitted', 'workflow.retried', 'workflow.completed', 'workflow.failed', 'workflow.cancelled', 'workflow.timed_out')
	GROUP BY stream
), pauses AS (
	SELECT stream, max(seq) AS seq, type FROM records
	WHERE type IN ('workflow.submitted', 'workflow.retried', 'workflow.paused', 'workflow.unpaused') GROUP BY stream
), parks AS (
	SELECT stream, max(seq) AS seq, type FROM records
	WHERE type IN ('workflow.submitted', 'workflow.retried', 'workflow.parked', 'workflow.resumed') GROUP BY stream
)
SELECT ` + sqlRun + ` AS number, first.data ->> '$.id' AS id, first.data ->> '$.name' AS name,
	CASE
	WHEN ends.type NOT IN ('workflow.submitted', 'workflow.retried') THEN substr(ends.type, 10)
	WHEN parks.type = 'workflow.parked' THEN 'parked'
	WHEN pauses.type = 'workflow.paused' THEN 'paused'
	ELSE 'unfinished' END AS status,
	` + sqlTime + ` AS submitted,
	CASE WHEN ends.type NOT IN ('workflow.submitted', 'workflow.retried') THEN ends.time END AS ended,
	CASE WHEN ends.type NOT IN ('workflow.submitted', 'workflow.retried') THEN
		coalesce(ends.data -> '$.outputs.inline', (SELECT bytes FROM content WHERE hash = ends.data ->> '$.outputs.big.hash')) END AS outputs,
	ends.data ->> '$.error.message' AS error,
	first.data ->> '$.source' AS source
FROM (SELECT * FROM records WHERE type = 'workflow.submitted') AS first JOIN ends USING (stream) JOIN pauses USING (stream) JOIN parks USING (stream)
ORDER BY number`

// tasksView has a row for each task of each run, the instances of a foreach and
// the steps of an agent after those of the document. When a run was retried and one
// of these began anew, all of them have other places, which only the run that the
// event carries tells: those from before are left out.
const tasksView = `
WITH said AS (
	SELECT stream, seq, type, data, seconds, nanos, data ->> '$.task' AS task FROM records
	WHERE (type LIKE 'task.%' OR type = 'agent.stepped') AND data ->> '$.task' IS NOT NULL
	UNION ALL
	SELECT r.stream, r.seq, r.type, r.data, r.seconds, r.nanos, tasks.value FROM records AS r, json_each(r.data, '$.tasks') AS tasks
	WHERE r.type IN ('task.skipped', 'workflow.retried')
), now AS (
	SELECT stream, task, max(seq) AS seq, type, data, ` + sqlTime + ` AS time FROM said GROUP BY stream, task
), starts AS (
	SELECT stream, task, max(seq), data ->> '$.attempt' AS attempts, data ->> '$.provider' AS provider, ` + sqlTime + ` AS time
	FROM said WHERE type = 'task.started' GROUP BY stream, task
), listed AS (
	SELECT r.stream, CAST(tasks.key AS INTEGER) AS task, tasks.value ->> '$.id' AS id, tasks.value ->> '$.method' AS method,
		tasks.value -> '$.agent.tools' AS tools, NULL AS part_of
	FROM records AS r JOIN content AS c ON c.hash = r.data ->> '$.document', json_each(c.bytes, '$.tasks') AS tasks
	WHERE r.type = 'workflow.submitted'
), moved AS (
	SELECT stream, max(seq) AS seq FROM records WHERE type = 'workflow.retried' AND data ->> '$.anew' IS NOT NULL GROUP BY stream
), instances AS (
	SELECT n.stream, n.task, l.id || '[' || (n.task - (r.data ->> '$.first')) || ']' AS id, l.method, l.tools, l.task AS part_of
	FROM records AS r JOIN listed AS l ON l.stream = r.stream AND l.task = r.data ->> '$.task'
	JOIN now AS n ON n.stream = r.stream AND n.task >= r.data ->> '$.first' AND n.task < (r.data ->> '$.first') + (r.data ->> '$.count')
	WHERE r.type = 'task.expanded' AND r.seq > coalesce((SELECT seq FROM moved WHERE moved.stream = r.stream), 0)
), named AS (
	SELECT * FROM listed UNION ALL SELECT * FROM instances
), stepped AS (
	SELECT n.stream, (r.data ->> '$.first') + steps.key AS task, n.id AS agent, coalesce(n.part_of, n.task) AS part_of, n.tools, steps.value ->> '$.form' AS form,
		coalesce(steps.value ->> '$.turn', 0) AS turn, coalesce(steps.value ->> '$.call', 0) AS call, coalesce(steps.value ->> '$.iteration', 0) AS iteration
	FROM records AS r JOIN named AS n ON n.stream = r.stream AND n.task = r.data ->> '$.task', json_each(r.data, '$.steps') AS steps
	WHERE r.type = 'agent.stepped' AND r.seq > coalesce((SELECT seq FROM moved WHERE moved.stream = r.stream), 0)
), steps AS (
	SELECT stream, task, agent || '.' || CASE WHEN iteration > 1 THEN 'iteration' || iteration || '.' ELSE '' END ||
		CASE WHEN form < 2 THEN 'turn' || turn WHEN form % 2 = 0 THEN 'tools' || (form / 2) ELSE 'turn' || turn || '.tool' || (call + 1) END AS id,
		CASE WHEN form < 2 THEN 'llm/chat' WHEN form % 2 = 0 THEN 'mcp/tools/list'
		ELSE coalesce(tools ->> ('$[' || ((form - 2) / 2) || '].call.method'), 'mcp/call_tool') END AS method, NULL AS tools, part_of
	FROM stepped
)
SELECT CAST(substr(l.stream, 5) AS INTEGER) AS run, l.task, l.id, l.method,
	CASE WHEN l.part_of IS NOT NULL AND n.type <> 'task.completed' AND EXISTS ( -- put back with what it is a part of
		SELECT 1 FROM records AS r, json_each(r.data, '$.tasks') AS again
		WHERE r.stream = l.stream AND r.type = 'workflow.retried' AND r.seq > n.seq AND again.value = l.part_of
	) THEN 'pending' ELSE CASE n.type
	WHEN 'task.started' THEN 'running' WHEN 'task.due' THEN 'ready' WHEN 'task.answered' THEN 'ready'
	WHEN 'task.condition_met' THEN 'ready' WHEN 'task.iterated' THEN 'evaluating' WHEN 'task.repeating' THEN 'retrying'
	WHEN 'agent.stepped' THEN 'expanded'
	ELSE coalesce(CASE WHEN n.type LIKE 'task.%' THEN substr(n.type, 6) END, 'pending') END END AS status,
	s.attempts, s.provider, s.time AS started,
	CASE WHEN n.type IN ('task.completed', 'task.failed', 'task.skipped', 'task.cancelled') THEN n.time END AS ended,
	coalesce(n.data -> '$.result.inline', (SELECT bytes FROM content WHERE hash = n.data ->> '$.result.big.hash')) AS result,
	coalesce(n.data ->> '$.error.message', n.data ->> '$.reason') AS error
FROM (SELECT * FROM named UNION ALL SELECT * FROM steps) AS l
LEFT JOIN now AS n ON n.stream = l.stream AND n.task = l.task
LEFT JOIN starts AS s ON s.stream = l.stream AND s.task = l.task
ORDER BY run, l.task`

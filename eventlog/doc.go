// Package eventlog is a durable, ordered, append-only list of records.
package eventlog

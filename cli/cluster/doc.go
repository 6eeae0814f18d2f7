// Package cluster is a node of a store that many nodes share: a store in a
// Redis that is divided into partitions (eventlog.Partitions).
//
//	clients ──► front (package server) ──► Node.Route ──┬─► server of a partition that is ours
//	                                                    └─► inbox of its owner, by way of the Redis
//
// Each partition has one owner, with a log and a scheduler of its own; a run, the
// runs that it starts and its retries live in one partition. Any node answers
// any call: route.go says which partition a call is about, call.go brings it
// there and sees to it that it is carried out although owners come and go,
// merge.go makes one answer of those of all partitions. own.go takes partitions
// and gives them up, so that every server has its share.
//
// Nodes speak to each other by way of the Redis alone. What they send each other
// is sealed for its reader (seal.go), as it may hold secrets, which must lie
// nowhere.
package cluster

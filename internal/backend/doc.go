// Package backend chooses where a request goes. A [Set] is some addresses that do the same work, fixed ones
// or those of the workers of a pool, and knows how to spread sessions over them, which of them can be reached, and
// what to do when all have as much as they may.
//
// A session asks with [Set.Try], which lends it one backend after another until one takes it. What is said
// on the connection, and how long connections are kept, is left to the caller.
package backend

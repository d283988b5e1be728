package config

import _ "embed"

//go:generate go test -run ^TestGeneratedFilesAreUpToDate$ -update .

//go:embed schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of the configuration file, for editors. It is made of the types here, their
// tags and their comments, as docs/config.md is.
func Schema() string { return schema }

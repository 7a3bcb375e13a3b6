//go:build tools

// Package tools names what is built here.
package tools

import _ "github.com/docker/compose/v2/cmd"

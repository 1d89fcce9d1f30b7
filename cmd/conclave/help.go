package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"golang.org/x/term"
)

const (
	// plainWidth is how wide help is where nobody knows how wide it can be, and widest how wide at most.
	plainWidth, widest = 80, 110
	// completionTime bounds the wait of somebody who has pressed Tab.
	completionTime = time.Second
)

// width is how wide lines of help are.
func (a *app) width() int {
	file, ok := a.out.(*os.File)
	if !ok {
		return plainWidth
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil || columns < plainWidth/2 {
		return plainWidth
	}
	return min(columns-1, widest)
}

// layOut breaks the lines of a command's help, and of those below it.
func layOut(cmd *cobra.Command, width int) {
	usages := regexp.MustCompile(`\.FlagUsages\b`)
	cmd.SetUsageTemplate(usages.ReplaceAllString(cmd.UsageTemplate(), fmt.Sprintf(".FlagUsagesWrapped %d", width)))
	cmd.Long = wrap(cmd.Long, width)
	for _, below := range cmd.Commands() {
		layOut(below, width)
	}
}

// wrap breaks paragraphs anew. Lines that begin with a space stay as they are.
func wrap(text string, width int) string {
	var out []string
	column := 0 // of the line under way, 0 for none
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			out, column = append(out, line), 0
			continue
		}
		for word := range strings.FieldsSeq(line) {
			length := utf8.RuneCountInString(word)
			if column == 0 || column+1+length > width {
				out, column = append(out, word), length
				continue
			}
			out[len(out)-1] += " " + word
			column += 1 + length
		}
	}
	return strings.Join(out, "\n")
}

func (a *app) manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the man pages to a directory",
		Long:    "man writes a man page for each command to DIR, which has to exist. The pages have the text of the help.",
		Example: "  conclave man /usr/local/share/man/man1",
		Args:    argument("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			// The pages' reader breaks lines by itself, wherever they are broken here.
			return doc.GenManTree(root, &doc.GenManHeader{Title: "CONCLAVE", Section: "1", Source: "conclave " + version(), Manual: "Conclave"}, args[0])
		},
	}
}

// completeNames completes names of locks and elections that are in use, so many at most.
func (a *app) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begins string) ([]string, cobra.ShellCompDirective) {
		switch {
		case slices.Contains(os.Args[:len(os.Args)-1], "--"): // a file of the command; pflag does not tell here
			return nil, cobra.ShellCompDirectiveDefault
		case len(args) >= most:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completions(cmd, begins), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completions(cmd *cobra.Command, begins string) []string {
	if err := a.etcd.environment(cmd.Flags()); err != nil {
		return nil
	}
	if a.etcd.asks() { // this is no time to ask
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return nil
	}
	defer func() { _ = client.Close() }() // nothing depends on it
	used, err := a.namesBelow(ctx, client, begins)
	if err != nil {
		return nil
	}
	var names []string
	for _, u := range used {
		names = append(names, fmt.Sprintf("%s\t%s, %d", u.Name, u.Kind, u.Entries))
	}
	return names
}

"""What the stages yield -> the text and the JSON data that commands print. Nothing is printed here.

port     conversions, sites, differences on disk
known    what porter sees in a source; the rules
claims   proofs and checks
matrix   every model of the library, a row each
review   a port for its reviewer: in the terminal, as a page

Takes:    what the stages yield: plans, ports, proofs, diagnostics.
Gives:    text for a person, data for JSON.
Imported: by `cli`, and by run scripts for their errors. It may look into every room.
"""

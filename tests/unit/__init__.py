"""What needs no server and no process: functions, rules, tables, pages."""

"""The four stages of integration as interchangeable schedulers: ``catalogue.stage(name, cell)`` makes one."""
